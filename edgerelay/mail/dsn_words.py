"""The part of a report that a person reads: what happened, to whom, and what to do now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from textwrap import wrap
from typing import Final

from edgerelay.mail.address import Mailbox
from edgerelay.mail.envelope import Envelope, Recipient

_STATUS: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_WORDS_LIMIT: Final = 2000  #: characters of a next hop's words
_WIDTH: Final = 72


class ReportKind(Enum):
    FAILED = "failed"  #: no one will try again
    DELAYED = "delayed"  #: it is still being tried
    DELIVERED = "delivered"  #: it lies in the mailbox
    RELAYED = "relayed"  #: a server that makes no such reports has taken it (RFC 3461 section 6.2)


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient's outcome. Times are seconds since the epoch.

    ``reply`` is the next hop's words if ``remote_mta`` names it, else ours. Raises
    ValueError for a ``status`` that is no enhanced status code (RFC 3463).
    """

    recipient: Recipient
    status: str
    reply: str
    remote_mta: str = ""
    attempted: float | None = None
    retry_until: float | None = None

    def __post_init__(self) -> None:
        if not _STATUS.fullmatch(self.status):
            raise ValueError(f"{self.status!r} is no enhanced status code")


@dataclass(frozen=True, slots=True)
class Subject:
    """The message that a report is about. ``arrived`` is in seconds since the epoch."""

    queue_id: str
    envelope: Envelope
    arrived: float


_TITLES: Final = {
    ReportKind.FAILED: "Undeliverable",
    ReportKind.DELAYED: "Delayed, still trying",
    ReportKind.DELIVERED: "Delivered",
    ReportKind.RELAYED: "Passed on",
}

_OPENINGS: Final = {
    ReportKind.FAILED: (
        "Your message of {arrived} could not be delivered to {whom}. This is final: it will "
        "not be tried again."
    ),
    ReportKind.DELAYED: (
        "Your message of {arrived} has not yet been delivered to {whom}. This is only a "
        "warning: you need not send it again."
    ),
    ReportKind.DELIVERED: "Your message of {arrived} has been delivered to {whom}.",
    ReportKind.RELAYED: (
        "Your message of {arrived} has been passed on for {whom} to a mail server that does "
        "not report deliveries. You will hear of it again only if it fails there."
    ),
}

#: What the sender can do, by the beginning of the status: the longest that fits counts.
_ADVICE: Final = {
    "1.1": "Check the address for a typing error: there is no such mailbox.",
    "1.2": "Check the part of the address after the @; there is no such domain.",
    "1.10": "The domain accepts no mail at all. Ask the recipient for another address.",
    "1": "Check the address, or ask the recipient for the right one.",
    "2.2": "The mailbox is full. Ask the recipient, in another way, to make room.",
    "2.3": "Make the message smaller, or share large files in another way.",
    "2": "The mailbox takes no mail now. Reach the recipient in another way.",
    "3.4": "Make the message smaller, or share large files in another way.",
    "4.6": "The domain's mail servers are set up wrongly. Tell the recipient.",
    "4": "Try again later, or reach the recipient in another way.",
    "6": "Send it as plain text, or without the part that was objected to.",
    "7": "The other side does not want this message. Its words above say why; show them to "
    "the recipient, who can have that changed.",
}
_OTHER_ADVICE: Final = "Show this report to the recipient, or to your own mail administrator."


def title(kind: ReportKind, about: Mailbox | None, count: int) -> str:
    """The Subject field. ``about`` is None where the address cannot be written in it."""
    name = "your message" if about is None else f"mail to {about}"
    others = "" if count < 2 else f" and {count - 1} more"
    return f"{_TITLES[kind]}: {name}{others}"


def explain(
    kind: ReportKind,
    subject: Subject,
    recipients: Sequence[ReportedRecipient],
    reporting_mta: str,
    postmaster: Mailbox,
) -> str:
    """The whole text, lines ended by CRLF."""
    whom = "one recipient" if len(recipients) == 1 else f"{len(recipients)} recipients"
    opening = _OPENINGS[kind].format(arrived=_day(subject.arrived), whom=whom)
    lines = [f"This is the mail relay at {reporting_mta}.", "", *wrap(opening, _WIDTH)]
    for reported in recipients:
        lines += ["", *_story(kind, reported)]
    lines += ["", *_closing(kind, subject, postmaster)]
    return "".join(f"{one_line(line, True)}\r\n" for line in lines)


def _story(kind: ReportKind, reported: ReportedRecipient) -> Iterable[str]:
    yield f"  <{reported.recipient.forward_path.mailbox}>"
    if reported.reply:
        who = reported.remote_mta
        yield f"    The mail server {who} said:" if who else "    What happened:"
        words = one_line(reported.reply, True)[:_WORDS_LIMIT]
        yield from (f"      {line}" for line in wrap(words, _WIDTH - 6))
    if kind is ReportKind.FAILED:
        advice = _advice(reported.status)
        yield from wrap(advice, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    elif kind is ReportKind.DELAYED and reported.retry_until is not None:
        yield f"    It will be tried until {_day(reported.retry_until)}."


def _advice(status: str) -> str:
    reason = status.partition(".")[2]
    return _ADVICE.get(reason) or _ADVICE.get(reason.partition(".")[0]) or _OTHER_ADVICE


def _closing(kind: ReportKind, subject: Subject, postmaster: Mailbox) -> Iterable[str]:
    yield "The technical details follow, and then your message or its header."
    if kind in (ReportKind.FAILED, ReportKind.DELAYED):
        yield ""
        yield "For help, write to the postmaster and quote this reference:"
        yield f"  {postmaster}, reference {subject.queue_id}"


def one_line(text: str, utf8: bool) -> str:
    """Make one printable line of anything, so that no text can become another field."""
    shown = "".join(c if c.isprintable() else " " if c in "\r\n\t" else _escape(c) for c in text)
    return shown if utf8 else shown.encode("ascii", "backslashreplace").decode("ascii")


def _escape(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 127 else "?"


def _day(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M} UTC"
