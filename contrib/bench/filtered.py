"""filtered.py: edgerelay and Postfix with the same three filters, side by side.

SPF, DKIM (rsa-2048) and greylisting that the sender has passed already; DNS from Debian's
unbound in a network of its own, so that port 53 there is nobody's. Postfix asks policyd-spf,
opendkim and postgrey. Options are those of compare.py; FILTERS chooses among the filters.

Needs root and: postfix unbound opendkim postgrey postfix-policyd-spf-python
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dkim
from measure import pause

HERE = Path(__file__).resolve().parent
INSIDE = "BENCH_NETWORK"  # set once we are in a network of our own
PROGRAMS = ("smtp-source", "postfix", "unbound", "opendkim", "postgrey", "unshare", "openssl")

ZONE = """
local-zone: "." static
local-data: ". 3600 IN SOA a. b. 1 1 1 1 60"
local-zone: "src.lab." static
local-data: "src.lab. 3600 IN SOA a.src.lab. b.src.lab. 1 1 1 1 60"
local-data: "src.lab. 3600 IN MX 10 mail.src.lab."
local-data: "mail.src.lab. 3600 IN A 198.51.100.1"
local-data: "helo.src.lab. 3600 IN A 127.0.0.1"
local-data: 'helo.src.lab. 3600 IN TXT "v=spf1 a -all"'
local-data: 'src.lab. 3600 IN TXT "v=spf1 mx include:_spf.src.lab -all"'
local-data: '_spf.src.lab. 3600 IN TXT "v=spf1 ip4:198.51.100.0/24 ip4:127.0.0.0/8 -all"'
local-data: 'sel._domainkey.src.lab. 3600 IN TXT {key}'
local-zone: "example.test." static
local-data: "example.test. 3600 IN MX 10 mx.example.test."
local-data: "mx.example.test. 3600 IN A 127.0.0.1"
local-zone: "127.in-addr.arpa." static
local-data-ptr: "127.0.0.1 helo.src.lab"
"""
UNBOUND = """
server:
interface: 127.0.0.1
port: 53
do-daemonize: no
chroot: ""
username: ""
directory: "{directory}"
pidfile: "{directory}/unbound.pid"
use-syslog: no
verbosity: 0
num-threads: 1
do-ip6: no
module-config: "iterator"
access-control: 127.0.0.0/8 allow
{zone}
remote-control:
control-enable: no
"""
HEADER = """\
From: Sender <a@src.lab>\r
To: Recipient <b@example.test>\r
Subject: A signed message for the filtered load\r
Date: Sat, 21 Nov 2026 20:00:00 +0000\r
Message-ID: <f1.0001@src.lab>\r
MIME-Version: 1.0\r
Content-Type: text/plain; charset=utf-8\r
"""


def main() -> int:
    if INSIDE in os.environ:
        return inside(Path(os.environ[INSIDE]))
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if missing or os.geteuid() != 0:
        print(f"needs root and {', '.join(missing) or 'nothing else'}")
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-filtered-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        material(directory)
        command = ["unshare", "--mount", "--net", "--propagation", "private"]
        return subprocess.run(
            [*command, sys.executable, __file__], env={**os.environ, INSIDE: name}
        ).returncode


def material(directory: Path) -> None:
    """A key, the zone that publishes it, and a message of 4 KiB signed with it."""
    key = directory / "key.pem"
    make = ["openssl", "genrsa", "-out", str(key), "2048"]
    subprocess.run(make, check=True, stderr=subprocess.DEVNULL)
    public = subprocess.run(
        ["openssl", "rsa", "-in", str(key), "-pubout", "-outform", "DER"],
        check=True,
        capture_output=True,
    ).stdout
    text = base64.b64encode(public).decode()
    record = f'"v=DKIM1; k=rsa; p={text[:200]}" "{text[200:]}"'
    zone = ZONE.format(key=record)
    (directory / "unbound.conf").write_text(UNBOUND.format(directory=directory, zone=zone))
    (directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
    words = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do"
    body = "".join(f"line {number:03d} {words}"[:70] + "\r\n" for number in range(56))
    message = f"{HEADER}\r\n{body}".encode()
    signature = dkim.sign(
        message,
        b"sel",
        b"src.lab",
        key.read_bytes(),
        canonicalize=(b"relaxed", b"relaxed"),
        include_headers=[b"from", b"to", b"subject", b"date", b"message-id"],
    )
    # smtp-source adds the CRs
    (directory / "signed.eml").write_bytes((signature + message).replace(b"\r\n", b"\n"))


def inside(directory: Path) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    resolv = ["mount", "--bind", str(directory / "resolv.conf"), "/etc/resolv.conf"]
    subprocess.run(resolv, check=True)
    unbound = subprocess.Popen(["unbound", "-d", "-c", str(directory / "unbound.conf")])
    try:
        pause(0.7)
        defaults = {
            "BENCH_PEERS": "edgerelay-filtered postfix-filtered",
            "BENCH_WORKLOADS": "W1F",
        }
        ours = {
            "BENCH_MESSAGE": str(directory / "signed.eml"),
            "BENCH_HELO": "helo.src.lab",
            "BENCH_FROM": "a@src.lab",
            "BENCH_PRIME": "2.5",
        }
        environment = {**defaults, **os.environ, **ours}
        return subprocess.run([sys.executable, HERE / "compare.py"], env=environment).returncode
    finally:
        unbound.terminate()
        unbound.wait(10)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    started = time.monotonic()
    status = main()
    if INSIDE not in os.environ:
        print(f"{time.monotonic() - started:.0f} s")
    sys.exit(status)
