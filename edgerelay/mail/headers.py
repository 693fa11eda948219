"""Reads a message's trace fields while it streams past, to find loops and forged results.

Keeps at most one header field of bounded length, whatever arrives. It does not judge how
many are too many, and knows nothing else of a header.
"""

from __future__ import annotations

import re
from typing import Final

from edgerelay.mail.address import domain_key

#: Of a longer field only this many octets are looked at.
_FIELD_LIMIT: Final = 8192
_WHITE: Final = (b" ", b"\t")
_FOLDS: Final = (*_WHITE, b"")
_TRACE: Final = re.compile(
    rb"\r\n(received|delivered-to|authentication-results)[ \t]*:", re.IGNORECASE
)
_DELIVERED_TO: Final = re.compile(
    rb"\r\ndelivered-to[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE
)
#: Mailboxes that are remembered: of more the Received fields that came with them make an end.
_REMEMBERED: Final = 100
#: Characters of a mailbox that may be one of our recipients (RFC 5321 section 4.5.3.1.3).
_LONGEST: Final = 256


def has_no_header(content: bytes) -> bool:
    """It begins with white space: its first line would go on with a field, and there is none."""
    return content.startswith(_WHITE)


class HeaderScanner:
    """Feed it content until `is_done`; ``hostname`` is the name our own Received say."""

    __slots__ = (
        "_carry",
        "_has_begun",
        "_hostname",
        "delivered_to",
        "is_done",
        "is_headless",
        "own_hops",
        "received",
        "results",
    )

    def __init__(self, hostname: str) -> None:
        self.received = 0  #: Received fields
        self.own_hops = 0  #: of these, "by" our own hostname (RFC 5321 section 4.4)
        #: Mailboxes that Delivered-To fields name (RFC 9228), in lower case, domains as A-labels.
        self.delivered_to: set[str] = set()
        self.results = 0  #: Authentication-Results fields
        self.is_done = False  #: the header has ended
        self.is_headless = False  #: see `has_no_header`
        self._has_begun = False
        self._hostname = hostname.lower().encode()
        # As if a line had ended before the first one: every field begins after CRLF.
        self._carry = b"\r\n"

    def feed(self, chunk: bytes) -> None:
        if self.is_done or not chunk:
            return
        if not self._has_begun:
            self._has_begun = True
            if has_no_header(chunk):
                self.is_headless = self.is_done = True
                return
        data = self._carry + chunk
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            self.is_done = True
            self._carry = b""
            self._count(data[: end + 2])
            return
        start = _last_field(data)
        if start < 0 or len(data) - start > _FIELD_LIMIT:
            # The field has outgrown us. What may begin the next one is a CR or CRLF at most.
            self._count(data)
            self._carry = next((end for end in (b"\r\n", b"\r") if data.endswith(end)), b"")
        else:
            self._count(data[: start + 2])  # with the CRLF that ends what is complete
            self._carry = data[start:]

    def _count(self, fields: bytes) -> None:
        names = [name.lower() for name in _TRACE.findall(fields)]
        if not names:
            return
        received = names.count(b"received")
        self.received += received
        self.results += names.count(b"authentication-results")
        if b"delivered-to" in names:
            self._remember(fields)
        if received and self._hostname in fields.lower():
            self.own_hops += len(_by(self._hostname).findall(fields))

    def _remember(self, fields: bytes) -> None:
        for value in _DELIVERED_TO.findall(fields):
            text = value.decode("utf-8", "replace").strip(" \t\r\n<>")
            local_part, at, domain = text.rpartition("@")
            if at and len(text) <= _LONGEST and len(self.delivered_to) < _REMEMBERED:
                self.delivered_to.add(f"{local_part}@{domain_key(domain)}".lower())


def _last_field(data: bytes) -> int:
    """Where the last field begins that may not be complete yet, or -1 if that is far away."""
    start = data.rfind(b"\r\n")
    bottom = len(data) - _FIELD_LIMIT
    while start > max(bottom, -1) and data[start + 2 : start + 3] in _FOLDS:
        start = data.rfind(b"\r\n", 0, start)
    return start


def _by(hostname: bytes) -> re.Pattern[bytes]:
    # re keeps the few that are in use compiled.
    inside = rb"(?:[^\r\n]|\r\n[ \t])"
    name = re.escape(hostname)
    return re.compile(
        rb"\r\nreceived[ \t]*:%b*?(?<=[ \t])by(?:[ \t]|\r\n[ \t])+%b(?=[ \t\r\n;(])"
        % (inside, name),
        re.IGNORECASE,
    )
