"""run.py: serve a relay on 127.0.0.1:2525 that files mail for example.test under ./run/mail.

For a first look. The configuration is written once and is yours to change after that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CONFIG = """\
# Written by `make run`. What else may stand here: docs/configuration.md
hostname = "relay.example.test"
state_dir = "{here}/state"
workers = 1

[[listener]]
address = "127.0.0.1:2525"
tls = "off"

[[route]]
domains = ["example.test"]
next_hop = ["maildir://{here}/mail/{{local_part}}"]
recipients = "any"

[limits]
min_free_space = "100MiB"
"""


def main() -> None:
    here = Path("run").resolve()
    config = here / "edgerelay.toml"
    if not config.exists():
        here.mkdir(mode=0o700, exist_ok=True)
        config.write_text(CONFIG.format(here=here))
        config.chmod(0o600)
    print(f"configuration: {config}")
    print("send it a message:")
    print(
        "  python3 -c 'import smtplib; "
        'smtplib.SMTP("127.0.0.1", 2525).sendmail("you@src.test", "bob@example.test", '
        '"Subject: hello\\r\\n\\r\\nhello\\r\\n")\''
    )
    print(f"and find it under {here}/mail/bob/new. Control-C ends it.", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "edgerelay", "serve", "-c", str(config)])


if __name__ == "__main__":
    main()
