"""A Dovecot of its own: LMTP on a Unix socket and on TCP, IMAP and POP3 to fetch mail back.

Needs root, as Dovecot does where its login processes drop their rights.
"""

from __future__ import annotations

import imaplib
import os
import poplib
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.support.process import Server, needs
from tests.e2e.support.waiting import answers, free_port, wait_for

PASSWORD = "not-a-secret"

# Lines of a message may be longer than poplib cares to read.
poplib._MAXLINE = 1 << 20  # type: ignore[attr-defined]  # there is no public way

_CONFIG = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_format = %Lu
first_valid_uid = 100
first_valid_gid = 100
mail_location = maildir:{directory}/mail/%u
mail_fsync = never
mail_max_userip_connections = 100
postmaster_address = postmaster@dovecot.test
hostname = dovecot.test
passdb {{
  driver = passwd-file
  args = {directory}/users
}}
userdb {{
  driver = passwd-file
  args = {directory}/users
}}
service lmtp {{
  process_min_avail = 2
  unix_listener {directory}/lmtp.sock {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""


class Dovecot(Server):
    """``users`` are whole addresses; any other recipient is unknown here (550 5.1.1)."""

    def __init__(self, directory: Path, users: Sequence[str]) -> None:
        needs("dovecot")
        self.lmtp_port, self.imap_port, self.pop3_port = free_port(), free_port(), free_port()
        self.lmtp_socket = directory / "lmtp.sock"
        self.users = users
        self.config = directory / "dovecot.conf"
        super().__init__(directory, ["dovecot", "-F", "-c", str(self.config)])

    def start(self) -> None:
        for part in ("run", "state", "mail"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        os.chown(self.directory / "mail", 65534, 65534)
        (self.directory / "users").write_text(
            "".join(
                f"{user}:{{PLAIN}}{PASSWORD}:65534:65534::{self.directory}/mail/{user}::\n"
                for user in self.users
            )
        )
        self.config.write_text(
            _CONFIG.format(
                directory=self.directory,
                lmtp=self.lmtp_port,
                imap=self.imap_port,
                pop3=self.pop3_port,
            )
        )
        super().start()

    def wait_ready(self) -> None:
        wait_for("Dovecot's LMTP greeting", lambda: answers(self.lmtp_port, b"220"))
        wait_for("Dovecot's IMAP greeting", lambda: answers(self.imap_port, b"* OK"))

    def died(self) -> str:
        log = self.directory / "dovecot.log"
        return super().died() + (log.read_text() if log.exists() else "")

    def count(self, user: str) -> int:
        """Messages in a user's inbox, counted in its Maildir."""
        box = self.directory / "mail" / user
        return sum(len(list((box / part).glob("*"))) for part in ("new", "cur"))

    def wait_count(self, user: str, count: int, timeout: float = 30.0) -> None:
        wait_for(f"{count} messages for {user}", lambda: self.count(user) >= count, timeout)

    def fetch_imap(self, user: str) -> list[bytes]:
        """Every message of the inbox, whole, in the order of arrival, over IMAP."""
        connection = imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=30)
        try:
            connection.login(user, PASSWORD)
            connection.select(readonly=True)
            _, answer = connection.fetch("1:*", "(BODY.PEEK[])") if self.count(user) else ("", [])
            return [part[1] for part in answer if isinstance(part, tuple)]
        finally:
            connection.logout()

    def fetch_pop3(self, user: str) -> list[bytes]:
        """Every message of the inbox over POP3, each ending in CRLF."""
        connection = poplib.POP3("127.0.0.1", self.pop3_port, timeout=30)
        try:
            connection.user(user)
            connection.pass_(PASSWORD)
            count, _ = connection.stat()
            return [
                b"\r\n".join(connection.retr(number)[1]) + b"\r\n"
                for number in range(1, count + 1)
            ]
        finally:
            connection.quit()
