"""Delivery status notifications: what became of a message, for a person and for a program.

Composes a multipart/report (RFC 6522) of plain English, RFC 3464 fields and the returned
message or its header; RFC 6533's forms where an address is not ASCII. Pure: who is owed a
report, and when, is decided elsewhere. Nothing from a message or from a next hop's words can
add a line or a field here.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from edgerelay.mail.address import Mailbox
from edgerelay.mail.dsn_words import (
    ReportedRecipient,
    ReportKind,
    Subject,
    explain,
    one_line,
    title,
)
from edgerelay.mail.envelope import Ret

__all__ = ["Report", "ReportKind", "ReportedRecipient", "Subject", "report"]

#: A longer message is not returned whole, whatever RET says: it may have been what was wrong.
FULL_LIMIT: Final = 256 * 1024
#: Octets of header that a report returns at most.
_HEAD_LIMIT: Final = 64 * 1024
_LINE_LIMIT: Final = 998  #: octets without CRLF (RFC 5322 section 2.1.1)
_FOLD_AT: Final = 76

_STRAY: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|\x00")
_LONG_LINE: Final = re.compile(rb"[^\r\n]{%d}" % (_LINE_LIMIT + 1))
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")
_ACTIONS: Final = {
    ReportKind.FAILED: "failed",
    ReportKind.DELAYED: "delayed",
    ReportKind.DELIVERED: "delivered",
    ReportKind.RELAYED: "relayed",
}


@dataclass(frozen=True, slots=True)
class Report:
    """A whole message, lines ended by CRLF, and what its envelope must say of it."""

    content: bytes
    smtputf8: bool
    is_7bit: bool


def report(
    kind: ReportKind,
    subject: Subject,
    recipients: Sequence[ReportedRecipient],
    *,
    reporting_mta: str,
    postmaster: Mailbox,
    report_id: str,
    now: float,
    head: bytes,
    full: bytes | None = None,
) -> Report:
    """Compose the report of one message to its reverse-path.

    ``report_id`` is the report's own queue id, letters and digits. ``head`` is the message's
    beginning, of which the header is returned; ``full`` is the whole of it, returned instead
    if it failed, RET=FULL asks for it (RFC 3461 section 4.3) and the result can be mailed.
    ``now`` is in seconds since the epoch. Raises ValueError for a null reverse-path: there
    is no one to report to (RFC 3461 section 6.1).
    """
    to = subject.envelope.reverse_path.mailbox
    if to is None:
        raise ValueError("a message without a reverse-path is never reported")
    if not recipients:
        raise ValueError("a report is about somebody")
    header = _header(head)
    whole = _whole(kind, subject, full)
    utf8 = subject.envelope.smtputf8 and not (
        to.is_ascii
        and header.isascii()
        and all(reported.recipient.forward_path.mailbox.is_ascii for reported in recipients)
    )
    parts = (
        _explanation(explain(kind, subject, recipients, reporting_mta, postmaster), utf8),
        _status(kind, subject, recipients, reporting_mta, utf8),
        _header_part(header, utf8) if whole is None else _whole_part(whole, utf8),
    )
    boundary = _boundary(report_id, parts)
    about = recipients[0].recipient.forward_path.mailbox
    fields = (
        ("Date", _date(now)),
        ("From", f"Mail Delivery System <{postmaster}>"),
        ("To", f"<{to}>"),
        ("Subject", title(kind, about if about.is_ascii or utf8 else None, len(recipients))),
        ("Message-ID", f"<{report_id}@{reporting_mta}>"),
        ("Auto-Submitted", "auto-replied"),  # RFC 3834 section 5
        ("MIME-Version", "1.0"),
        ("Content-Type", "multipart/report; report-type=delivery-status;"),
    )
    text = _fields(fields, utf8) + f'\tboundary="{boundary}"\r\n\r\n'.encode()
    opening = f"--{boundary}\r\n".encode()
    content = text + b"".join(opening + part for part in parts) + f"--{boundary}--\r\n".encode()
    return Report(content, smtputf8=utf8, is_7bit=content.isascii())


def _explanation(text: str, utf8: bool) -> bytes:
    if text.isascii():
        return _part("text/plain; charset=us-ascii", text.encode())
    if utf8:
        return _part("text/plain; charset=utf-8", text.encode(), "8bit")
    encoded = binascii.b2a_qp(text.encode(), istext=True)
    return _part("text/plain; charset=utf-8", encoded, "quoted-printable")


def _status(
    kind: ReportKind,
    subject: Subject,
    recipients: Iterable[ReportedRecipient],
    reporting_mta: str,
    utf8: bool,
) -> bytes:
    envid = subject.envelope.envid
    message = [
        ("Original-Envelope-Id", _from_xtext(envid) if envid else ""),
        ("Reporting-MTA", f"dns; {reporting_mta}"),
        ("Arrival-Date", _date(subject.arrived)),
    ]
    groups = [_fields(message, utf8)]
    groups += [_fields(_about(kind, reported, utf8), utf8) for reported in recipients]
    # RFC 6533 section 3: the international form is the same fields, in UTF-8.
    media = "message/global-delivery-status" if utf8 else "message/delivery-status"
    return _part(media, b"\r\n".join(groups), "8bit" if utf8 else "")


def _about(kind: ReportKind, reported: ReportedRecipient, utf8: bool) -> Iterable[tuple[str, str]]:
    """The per-recipient fields, in the order of RFC 3464 section 2.3."""
    mailbox = reported.recipient.forward_path.mailbox
    delayed = kind is ReportKind.DELAYED
    yield "Original-Recipient", _original_recipient(reported.recipient.orcpt)
    if utf8 and not mailbox.is_ascii:
        yield "Final-Recipient", f"utf-8; {_unitext(str(mailbox))}"
    else:
        yield "Final-Recipient", f"rfc822; {mailbox}"
    yield "Action", _ACTIONS[kind]
    yield "Status", reported.status
    yield "Remote-MTA", f"dns; {reported.remote_mta}" if reported.remote_mta else ""
    # Only a peer's reply is of the type "smtp"; our own words are marked as ours.
    words = "smtp" if reported.remote_mta else "x-edgerelay"
    yield "Diagnostic-Code", f"{words}; {reported.reply}" if reported.reply else ""
    yield "Last-Attempt-Date", _date(reported.attempted)
    yield "Will-Retry-Until", _date(reported.retry_until) if delayed else ""


def _original_recipient(orcpt: str | None) -> str:
    """Decode ``type;xtext`` (RFC 3461 section 4.2); an international one stays encoded."""
    kind, semicolon, address = (orcpt or "").partition(";")
    if not semicolon:
        return ""
    return f"{kind}; {address if kind.lower() == 'utf-8' else _from_xtext(address)}"


def _from_xtext(text: str) -> str:
    """Decode xtext (RFC 3461 section 4); what is no printable ASCII then is escaped later."""
    return _XTEXT.sub(lambda match: chr(int(match[1], 16)), text)


def _unitext(address: str) -> str:
    """Write an address as utf-8-addr-unitext (RFC 6533 section 3)."""
    return re.sub(r"[\\+=\x00-\x20\x7f]", lambda match: f"\\x{{{ord(match[0]):02X}}}", address)


def _whole(kind: ReportKind, subject: Subject, full: bytes | None) -> bytes | None:
    """Return the whole message if it is wanted (RFC 3461 section 4.3) and can be mailed."""
    wanted = kind is ReportKind.FAILED and subject.envelope.ret is Ret.FULL
    if not wanted or full is None or len(full) > FULL_LIMIT:
        return None
    return None if _STRAY.search(full) or _LONG_LINE.search(full) else full


def _header(head: bytes) -> bytes:
    """Cut the header out of a message's beginning and make every line of it mailable."""
    if head.startswith(b"\r\n"):
        return b""
    header, end, _ = head[: _HEAD_LIMIT + 4].partition(b"\r\n\r\n")
    if not end:  # it goes on beyond what we have: keep its complete lines
        header = header[: max(header.rfind(b"\r\n"), 0)]
    lines = _STRAY.sub(b" ", header).split(b"\r\n")
    return b"".join(piece + b"\r\n" for line in lines for piece in _pieces(line))


def _pieces(line: bytes) -> Iterable[bytes]:
    """Break a line that is too long; the rest continues the field (RFC 5322 section 2.2.3)."""
    yield line[:_LINE_LIMIT]
    for start in range(_LINE_LIMIT, len(line), _LINE_LIMIT - 1):
        yield b" " + line[start : start + _LINE_LIMIT - 1]


def _whole_part(whole: bytes, utf8: bool) -> bytes:
    media = "message/global" if utf8 else "message/rfc822"
    return _part(media, whole, "" if whole.isascii() else "8bit")


def _header_part(header: bytes, utf8: bool) -> bytes:
    if utf8:
        return _part("message/global-headers", header, "8bit")
    if header.isascii():
        return _part("text/rfc822-headers", header)
    encoded = binascii.b2a_qp(header, istext=True)
    return _part("text/rfc822-headers", encoded, "quoted-printable")


def _part(media: str, body: bytes, encoding: str = "") -> bytes:
    transfer = f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else ""
    # The last CRLF belongs to the boundary that follows (RFC 2046 section 5.1.1).
    return f"Content-Type: {media}\r\n{transfer}\r\n".encode() + body + b"\r\n"


def _boundary(report_id: str, parts: Iterable[bytes]) -> str:
    """Make a boundary that no part holds, by looking (RFC 2046 section 5.1.1)."""
    whole = b"".join(parts)
    boundary = f"=_{report_id}"
    number = 0
    while f"--{boundary}".encode() in whole:
        number += 1
        boundary = f"=_{report_id}_{number}"
    return boundary


def _fields(fields: Iterable[tuple[str, str]], utf8: bool) -> bytes:
    return "".join(_fold(name, one_line(value, utf8)) for name, value in fields if value).encode()


def _fold(name: str, value: str) -> str:
    """Fold before words (RFC 5322 section 2.2.3); unfolding gives the value back."""
    line, *words = f"{name}: {value}".split(" ")
    lines = []
    for number, word in enumerate(piece for long in words for piece in _mailable(long)):
        if number and word and len(line) + len(word) >= _FOLD_AT:
            lines.append(line)
            line = ""
        line = f"{line} {word}"
    return "".join(f"{line}\r\n" for line in (*lines, line))


def _mailable(word: str) -> Iterable[str]:
    """Break what no line could hold. Addresses are shorter (RFC 5321 section 4.5.3.1)."""
    limit = _LINE_LIMIT - _FOLD_AT if word.isascii() else (_LINE_LIMIT - _FOLD_AT) // 4
    return (word[start : start + limit] for start in range(0, len(word) or 1, limit))


def _date(when: float | None) -> str:
    return "" if when is None else format_datetime(datetime.fromtimestamp(when, UTC))
