"""Debian's unbound on loopback, with a literal zone and no way out."""

from __future__ import annotations

import socket
from pathlib import Path

import dns.message
import dns.query

from edgerelay.policy import Mx
from edgerelay.testing.literal_dns import Zone
from tests.e2e.support.process import Server, needs
from tests.e2e.support.waiting import free_port, wait_for

_CONFIG = """\
server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "{directory}"
  pidfile: "{directory}/unbound.pid"
  use-syslog: no
  num-threads: 1
  do-ip6: no
  module-config: "iterator"
  access-control: 127.0.0.0/8 allow
  local-zone: "." static
  local-data: ". 3600 IN SOA a. b. 1 1 1 1 60"
{data}
remote-control:
  control-enable: no
"""


class Unbound(Server):
    """Answers for ``zone``; every other name does not exist."""

    def __init__(self, directory: Path, zone: Zone) -> None:
        needs("unbound")
        self.port = free_port()
        self.config = directory / "unbound.conf"
        self._zone = zone
        super().__init__(directory, ["unbound", "-d", "-c", str(self.config)])

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        data = "\n".join(self._lines())
        self.config.write_text(_CONFIG.format(port=self.port, directory=self.directory, data=data))
        super().start()

    def wait_ready(self) -> None:
        query = dns.message.make_query("ready.test", "A")

        def answers() -> bool:
            try:
                dns.query.udp(query, "127.0.0.1", port=self.port, timeout=0.5)
            except (OSError, dns.exception.DNSException):
                return not self.running
            return True

        wait_for("unbound", answers)
        assert self.running, self.died()

    def _lines(self) -> list[str]:
        lines = []
        for (name, kind), records in self._zone.items():
            assert not isinstance(records, str), "unbound has no faults to offer"
            for record in records:  # type: ignore[union-attr]  # a sequence, as was asserted
                match record:
                    case Mx(preference, host):
                        data = f"{preference} {host}."
                    case str():
                        data = record
                    case _:
                        data = " ".join(f'"{string.decode()}"' for string in record)
                lines.append(f"  local-data: '{name}. 300 IN {kind} {data}'")
        return lines


def nobody_answers() -> int:
    """A UDP port on which a socket listens that nobody reads: a dead name server."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    _SILENT.append(silent)
    return int(silent.getsockname()[1])


_SILENT: list[socket.socket] = []  # as long as the tests
