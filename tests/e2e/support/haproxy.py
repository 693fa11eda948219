"""An haproxy of its own that passes TCP on and says who the client was (PROXY v1 or v2)."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.support.process import Server, needs
from tests.e2e.support.waiting import answers, free_port, wait_for

_CONFIG = """\
global
  maxconn 200
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:{port}
  default_backend out
backend out
  server edge 127.0.0.1:{target} {send}
"""


class Haproxy(Server):
    """``version`` is that of the PROXY protocol header."""

    def __init__(self, directory: Path, target: int, version: int) -> None:
        needs("haproxy")
        self.port = free_port()
        self.config = directory / "haproxy.cfg"
        send = {1: "send-proxy", 2: "send-proxy-v2"}[version]
        self._text = _CONFIG.format(port=self.port, target=target, send=send)
        super().__init__(directory, ["haproxy", "-db", "-f", str(self.config)])

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self._text)
        super().start()

    def wait_ready(self) -> None:
        wait_for("haproxy", lambda: answers(self.port))
