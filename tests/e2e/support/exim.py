"""Exim in a directory of its own: takes mail and keeps it queued, or sends a message on.

Needs root: Exim reads a configuration like ours only for root.
"""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

from tests.e2e.support.process import Server, run
from tests.e2e.support.unpacked import unpacked
from tests.e2e.support.waiting import answers, free_port, wait_for

_CONFIGURATION = """\
exim_path = {program}
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
pid_file_path = {directory}/exim.pid
primary_hostname = exim.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
never_users =
keep_environment =
queue_only
host_lookup =
rfc1413_hosts =
message_size_limit = 100M
smtputf8_advertise_hosts = *
tls_advertise_hosts =
acl_smtp_rcpt = accept
acl_smtp_data = accept
log_selector = +smtp_syntax_error

begin routers
onward:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = onward

begin transports
onward:
  driver = smtp
  port = {relay_to}
  allow_localhost
  hosts_try_dane =
  tls_tempfail_tryclear = false
{transport}"""


class Exim(Server):
    """Takes whatever comes and keeps it. ``relay_to``: where `send` hands a message to.

    ``transport`` adds lines to the options of the SMTP transport.
    """

    def __init__(
        self, directory: Path, *, relay_to: int = 25, transport: tuple[str, ...] = ()
    ) -> None:
        self.program = unpacked("usr/sbin/exim4")
        self.port = free_port()
        self._file = directory / "exim.conf"
        super().__init__(directory, [str(self.program), "-C", str(self._file), "-bdf"])
        self._configuration = _CONFIGURATION.format(
            program=self.program,
            directory=directory,
            port=self.port,
            relay_to=relay_to,
            transport="".join(f"  {line}\n" for line in transport),
        )

    def write(self) -> None:
        """What it needs on the disk before it can run."""
        owner = pwd.getpwnam("Debian-exim")
        for part in (".", "spool", "log"):
            folder = self.directory / part
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        self._file.write_text(self._configuration)

    def start(self) -> None:
        self.write()
        super().start()

    def wait_ready(self) -> None:
        wait_for("Exim's greeting", lambda: answers(self.port, b"220"))

    def died(self) -> str:
        return super().died() + self.mainlog

    @property
    def mainlog(self) -> str:
        log = self.directory / "log/mainlog"
        return log.read_text(errors="replace") if log.exists() else ""

    def taken(self) -> list[str]:
        """The reverse-path of each message that came over SMTP, in order."""
        return re.findall(r" <= (\S+) H=", self.mainlog)

    def send(self, sender: str, *recipients: str, content: bytes) -> None:
        """Submit on the command line, and deliver at once."""
        self.write()
        path = self.directory / "message"
        path.write_bytes(content)
        command = (
            f'file=$1 from=$2; shift 2; exec "$0" -C "$file" -odf -oi -f "$from" "$@" < "{path}"'
        )
        run("sh", "-c", command, str(self.program), str(self._file), sender, *recipients)

    def send_again(self) -> None:
        """Deliver what is still queued, whenever it was to be tried next."""
        run(str(self.program), "-C", str(self._file), "-qff")

    @property
    def version(self) -> str:
        return run(str(self.program), "-C", "/dev/null", "-bV").split()[2]
