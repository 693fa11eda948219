"""A whole Postfix instance in a directory of its own, as the sender or as the next hop.

Needs root, as Postfix does; touches nothing of an installed Postfix.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from tests.e2e.support.process import Server, needs, run
from tests.e2e.support.waiting import answers, free_port, wait_for

_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/spool
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {directory}/log/maillog
maillog_file_prefixes = /var, {directory}
myhostname = postfix.test
mydestination =
local_recipient_maps =
local_transport = error:no local mail
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_bind_address = 127.0.0.1
disable_dns_lookups = yes
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
message_size_limit = 104857600
mailbox_size_limit = 0
virtual_mailbox_limit = 0
notify_classes =
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
scache unix - - n - 1 scache
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


_QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("maildrop", "private", "public", "saved", "trace"),
)


class Postfix(Server):
    """``relay_to``: hand everything to that port. ``mailboxes``: local ones, kept as Maildirs.

    ``extra`` overrides parameters of main.cf.
    """

    def __init__(
        self,
        directory: Path,
        *,
        relay_to: int | None = None,
        mailboxes: tuple[str, ...] = (),
        extra: dict[str, str] | None = None,
    ) -> None:
        needs("postfix")
        # The master itself, in the foreground: `postfix start` would leave it to init.
        self._etc = directory / "etc"
        command = ["/usr/lib/postfix/sbin/master", "-c", str(self._etc), "-d"]
        super().__init__(directory, command)
        self.port = free_port()
        self.mailboxes = mailboxes
        parameters = dict(
            line.split(" =", 1) for line in _MAIN.format(directory=directory).splitlines()
        )
        if relay_to is not None:
            parameters["relayhost"] = f" [127.0.0.1]:{relay_to}"
        if mailboxes:
            domains = sorted({mailbox.partition("@")[2] for mailbox in mailboxes})
            parameters |= {
                "virtual_mailbox_domains": " " + ", ".join(domains),
                "virtual_mailbox_base": f" {directory}/mail",
                "virtual_mailbox_maps": f" texthash:{directory}/etc/mailboxes",
                "virtual_minimum_uid": " 100",
                "virtual_uid_maps": " static:65534",
                "virtual_gid_maps": " static:65534",
            }
        parameters |= {name: f" {value}" for name, value in (extra or {}).items()}
        self._main = "".join(f"{name} ={value}\n" for name, value in parameters.items())

    def start(self) -> None:
        for part in ("etc", "spool", "data", "log", "mail"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        os.chown(self.directory / "mail", 65534, 65534)
        self._make_queue()
        (self._etc / "main.cf").write_text(self._main)
        (self._etc / "master.cf").write_text(_MASTER.format(port=self.port))
        (self._etc / "mailboxes").write_text("".join(f"{box} {box}/\n" for box in self.mailboxes))
        super().start()

    def _make_queue(self) -> None:
        """What `postfix check` would make, in a hundredth of its time."""
        owner = pwd.getpwnam("postfix").pw_uid
        postdrop = grp.getgrnam("postdrop").gr_gid
        os.chown(self.directory / "data", owner, -1)
        for name in _QUEUES:
            folder = self.directory / "spool" / name
            folder.mkdir(mode=0o700, exist_ok=True)
            os.chown(folder, owner, -1)
        for name, mode in (("public", 0o710), ("maildrop", 0o730)):
            os.chown(self.directory / "spool" / name, owner, postdrop)
            (self.directory / "spool" / name).chmod(mode)
        (self.directory / "spool/pid").mkdir(exist_ok=True)

    def wait_ready(self) -> None:
        wait_for("Postfix's greeting", lambda: answers(self.port, b"220"))

    def died(self) -> str:
        return super().died() + self.maillog

    @property
    def maillog(self) -> str:
        return (self.directory / "log/maillog").read_text(errors="replace")

    def mailbox(self, address: str) -> list[bytes]:
        """The messages of a local mailbox, with LF line ends as Postfix stores them."""
        folder = self.directory / "mail" / address / "new"
        return [path.read_bytes() for path in sorted(folder.glob("*"))]

    def queued(self) -> int:
        """Messages in its queue, from its own tool."""
        listing = run("postqueue", "-c", str(self._etc), "-j")
        return len(listing.splitlines())
