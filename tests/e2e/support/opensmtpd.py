"""OpenSMTPD in the foreground, as the next hop or as the sender.

Its queue and its socket have their places compiled in (/var/spool/smtpd, /var/run/smtpd.sock),
so there can be one at a time, and none on a machine that uses it. Needs root.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.e2e.support.process import Server
from tests.e2e.support.unpacked import unpacked
from tests.e2e.support.waiting import answers, free_port, wait_for

_QUEUE = Path("/var/spool/smtpd")
#: Says that the queue is ours to remove: nobody's mail is lost by a test.
_OURS = Path("/var/spool/smtpd.edgerelay-e2e")
_CONFIGURATION = """\
smtp max-message-size 100M
listen on lo port {port} hostname opensmtpd.test
action onward relay {host}
match from any for any action onward
"""


class OpenSmtpd(Server):
    """Hands all it takes to ``relay_to``. ``tls``: encrypted, and whatever the certificate."""

    def __init__(self, directory: Path, *, relay_to: int, tls: bool = False) -> None:
        program = unpacked("usr/sbin/smtpd")
        self.port = free_port()
        self._file = directory / "smtpd.conf"
        command = [str(program), "-d", "-v", "-f", str(self._file)]
        super().__init__(directory, command)
        scheme = "smtp+tls" if tls else "smtp+notls"
        host = f'host "{scheme}://127.0.0.1:{relay_to}"' + (" tls no-verify" if tls else "")
        self._configuration = _CONFIGURATION.format(port=self.port, host=host)

    def start(self) -> None:
        assert _OURS.exists() or not _QUEUE.exists(), f"{_QUEUE} is not ours"
        _OURS.touch()
        shutil.rmtree(_QUEUE, ignore_errors=True)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._file.write_text(self._configuration)
        super().start()

    def wait_ready(self) -> None:
        wait_for("OpenSMTPD's greeting", lambda: answers(self.port, b"220"))

    def stop(self, sig: int = signal.SIGTERM, timeout: float = 20.0) -> int:
        status = super().stop(sig, timeout)
        if _OURS.exists():
            shutil.rmtree(_QUEUE, ignore_errors=True)
            _OURS.unlink()
        return status

    def taken(self) -> list[str]:
        """The reverse-path of each message that it took, in order."""
        log = self.log.read_text(errors="replace")
        return re.findall(r" smtp envelope evpid=\w+ from=<(\S*?)>", log)


def version() -> str:
    done = subprocess.run(
        [str(unpacked("usr/sbin/smtpd")), "-h"], capture_output=True, text=True, check=False
    )
    found = re.search(r"OpenSMTPD (\S+)", done.stdout + done.stderr)
    assert found, done
    return found[1]
