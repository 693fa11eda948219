"""What one attempt to deliver said of each recipient, as values.

It knows neither sockets nor the queue: a transaction makes an `Attempt`, `schedule` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgerelay.mail.reply import Reply

NO_CONNECTION: Final = Reply(451, "4.4.1", "No connection to the next hop")
CONNECTION_LOST: Final = Reply(451, "4.4.2", "The connection to the next hop was lost")
TIMED_OUT: Final = Reply(451, "4.4.2", "The next hop did not answer in time")
NOT_UNDERSTOOD: Final = Reply(451, "4.5.0", "The next hop's answer was not understood")
TLS_MISSING: Final = Reply(454, "4.7.10", "The next hop does not offer the encryption we require")
TLS_FAILED: Final = Reply(454, "4.7.5", "The encrypted connection to the next hop failed")
CONTENT_UNREADABLE: Final = Reply(451, "4.3.0", "The message could not be read from our spool")
OUR_FAULT: Final = Reply(451, "4.3.0", "The delivery failed inside this relay")
TOO_BIG: Final = Reply(552, "5.3.4", "The message is larger than the next hop accepts")
EIGHT_BIT: Final = Reply(554, "5.6.3", "The next hop does not accept 8-bit content")
BINARY: Final = Reply(554, "5.6.3", "The next hop does not accept binary content")
TLS_REQUIRED: Final = Reply(
    550, "5.7.30", "REQUIRETLS: the next hop cannot be reached with verified TLS, or lacks it"
)
NOT_ASCII: Final = Reply(553, "5.6.7", "The next hop does not accept internationalized mail")
NO_MAIL_HOST: Final = Reply(521, "5.3.2", "The hosts of the domain accept no mail")
DELIVERED: Final = Reply(250, "2.0.0", "Delivered to the mailbox")
NO_SUCH_MAILBOX: Final = Reply(550, "5.1.1", "No mailbox can have this name")
NO_ROOM: Final = Reply(452, "4.3.1", "There is no room for the message at the moment")
NOT_WRITTEN: Final = Reply(451, "4.3.0", "The mailbox could not be written")

#: As they stand in the spool and in reports, where a next hop's words need another label.
OWN_WORDS: Final = frozenset(
    str(reply)
    for reply in (
        NO_CONNECTION,
        CONNECTION_LOST,
        TIMED_OUT,
        NOT_UNDERSTOOD,
        TLS_MISSING,
        TLS_FAILED,
        CONTENT_UNREADABLE,
        OUR_FAULT,
        TOO_BIG,
        EIGHT_BIT,
        BINARY,
        TLS_REQUIRED,
        NOT_ASCII,
        NO_MAIL_HOST,
        DELIVERED,
        NO_SUCH_MAILBOX,
        NO_ROOM,
        NOT_WRITTEN,
    )
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One reply for each recipient, in the delivery's order: 2yz, 4yz or 5yz.

    ``hop`` is the address that gave them, as text, and ``hop_name`` its name; both are empty
    where the words are our own. ``reports_success``: the hop offers DSN, so NOTIFY=SUCCESS
    went on with the message (RFC 3461 section 5.2.1). ``is_final``: beyond it there is only
    the mailbox (LMTP, Maildir), so a success is "delivered" and not "relayed".
    """

    replies: tuple[Reply, ...]
    hop: str = ""
    hop_name: str = ""
    tls: str = ""
    reports_success: bool = False
    is_final: bool = False

    @property
    def outcome(self) -> str:
        """The word for all recipients together: see `edgerelay.observe.events.Delivery`."""
        classes = {reply.code // 100 for reply in self.replies}
        if len(classes) != 1:
            return "mixed"
        return {2: "delivered", 4: "deferred"}.get(classes.pop(), "failed")


REFUSED: Final = Reply(550, "5.7.1", "The message was refused")


def refused_by_policy(count: int, text: str) -> Attempt:
    """``text`` is a policy's reply as `str` wrote it, given after others had been accepted."""
    code, _, rest = text.partition(" ")
    enhanced, _, words = rest.partition(" ")
    try:
        reply = Reply(int(code), enhanced, words)
    except ValueError:
        reply = REFUSED
    return same_for_all(count, reply if reply.is_permanent else REFUSED)


def same_for_all(count: int, reply: Reply) -> Attempt:
    """Every recipient has this reply, in our own words."""
    return Attempt((reply,) * count)
