"""Every reply of a session that is not the protocol's own, with its enhanced code (RFC 3463)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from edgerelay.mail.reply import Reply
from edgerelay.smtp.events import DataProblem

OK: Final = Reply(250, "2.0.0", "Ok")
MAIL_OK: Final = Reply(250, "2.1.0", "Ok")
RCPT_OK: Final = Reply(250, "2.1.5", "Ok")
GO_AHEAD: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
BYE: Final = Reply(221, "2.0.0", "Bye")
TLS_READY: Final = Reply(220, "2.0.0", "Ready to start TLS")
CANNOT_VERIFY: Final = Reply(252, "2.0.0", "Cannot verify; send mail and see")
NOT_EXPANDED: Final = Reply(502, "5.5.1", "EXPN is not offered here")
HELP: Final = Reply(
    214,
    "2.0.0",
    "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT STARTTLS",
    ("See RFC 5321",),
)

NO_ROOM: Final = Reply(452, "4.3.1", "Insufficient system storage, try again later")
NOT_STORED: Final = Reply(451, "4.3.0", "The message could not be stored, try again later")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients")
OTHER_ROUTE: Final = Reply(452, "4.5.3", "Send to this recipient in another message")
HEADER_TOO_LARGE: Final = Reply(552, "5.3.4", "The header section is too large")
NO_TRANSACTION: Final = Reply(503, "5.5.1", "No mail transaction is open")
SPOKE_EARLY: Final = Reply(550, "5.5.1", "You spoke before our greeting was over")
TOO_HASTY: Final = Reply(550, "5.5.1", "You went on before our reply, which nobody had offered")
NO_SERVICE: Final = Reply(503, "5.5.1", "No service here; QUIT is all that is left")
LOOP: Final = Reply(554, "5.4.6", "Too many hops, this message is going round in circles")
DELIVERED_BEFORE: Final = Reply(
    554, "5.4.6", "This was delivered to its recipient before and is going round in circles"
)
PROBLEMS: Final = {
    DataProblem.BARE_NEWLINE: Reply(
        550, "5.6.11", "Lines end with CRLF; bare CR and LF are not accepted"
    ),
    DataProblem.TOO_BIG: Reply(552, "5.3.4", "Message too big"),
    DataProblem.LONG_LINE: Reply(550, "5.6.0", "A line is longer than 998 octets"),
}

#: Characters of a line that a policy may fill.
_POLICYS: Final = 450

# RFC 5321 section 4.2.3: a 421 names the host that says it.
_LAST_WORDS: Final = {
    "shutdown": ("4.3.2", "Service shutting down"),
    "timeout": ("4.4.2", "Timeout, closing the connection"),
    "too long": ("4.4.2", "This session has lasted too long"),
    "errors": ("4.7.0", "Too many errors"),
    "too many connections": ("4.7.0", "Too many connections from your network"),
    "too many new connections": ("4.7.0", "Too many new connections from your network"),
    "full": ("4.3.2", "All our places are taken, try again later"),
    "stress": ("4.3.2", "Others wait for your place, try again later"),
    "trouble": ("4.3.0", "Local trouble, try again later"),
}


@lru_cache(maxsize=16)
def greeting(hostname: str) -> Reply:
    return Reply(220, "", f"{hostname} ESMTP edgerelay")


@lru_cache(maxsize=16)
def tease(hostname: str) -> bytes:
    """The first line of a greeting whose last is still to come (RFC 5321 section 4.2)."""
    return f"220-{hostname} wait for the end of this greeting\r\n".encode()


@lru_cache(maxsize=16)
def hello(hostname: str) -> Reply:
    """The positive answer to HELO; that to EHLO depends on what is on offer."""
    return Reply(250, "", hostname)


def last_words(hostname: str, why: str) -> Reply:
    """The 421 that ends a session; ``why`` is what its `SessionEnded` says."""
    enhanced, text = _LAST_WORDS[why]
    return Reply(421, enhanced, f"{hostname} {text}")


def of_a_policy(reply: Reply) -> Reply:
    """What a policy says, as any client can read it: ASCII, and in lines with room for the
    session's token (RFC 5321 section 4.5.3.1.5: 512 octets)."""
    if all(line.isascii() and len(line) <= _POLICYS for line in reply.lines):
        return reply
    lines = [line.encode("ascii", "backslashreplace").decode()[:_POLICYS] for line in reply.lines]
    return Reply(reply.code, reply.enhanced, lines[0], tuple(lines[1:]))


def at_the_door(hostname: str, reply: Reply) -> Reply:
    """What is said instead of a greeting: 554 (RFC 5321 section 3.1), or 421 and good-bye."""
    code = 421 if reply.is_transient else 554
    return Reply(code, reply.enhanced, f"{hostname} {reply.text}", reply.more)


@lru_cache(maxsize=256)
def chunk(size: int) -> Reply:
    return Reply(250, "2.0.0", f"Ok: {size} octets")


def for_one(reply: Reply) -> Reply:
    """A policy's word for one recipient of several: with it no session can end."""
    said = of_a_policy(reply)
    return replace(said, code=451) if said.code == 421 else said


def queued(queue_id: str) -> Reply:
    return Reply(250, "2.0.0", f"Ok: queued as {queue_id}")


def signed(reply: Reply, session: str) -> Reply:
    """A refusal that ends with the session's token: with it a postmaster finds the story."""
    if reply.more:
        return replace(reply, more=(*reply.more[:-1], f"{reply.more[-1]} (s={session})"))
    return replace(reply, text=f"{reply.text} (s={session})")
