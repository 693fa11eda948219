"""Mailboxes and paths (RFC 5321 section 4.1.2), and when two domains are the same one.

A value here is already valid: the grammar that makes one from a client's octets is
`edgerelay.smtp.grammar`. Past it nobody checks an address again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import idna


@lru_cache(maxsize=4096)
def domain_key(domain: str) -> str:
    """Return the form in which domains are compared: A-labels in lower case (RFC 5890).

    A domain that IDNA refuses, and a domain literal, is compared as lower-case text.
    """
    if domain.isascii():
        return domain.lower().rstrip(".")
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower().rstrip(".")
    except idna.IDNAError:
        return domain.lower()


@dataclass(frozen=True, slots=True)
class Mailbox:
    """``Local-part "@" Domain``, both as they were received.

    The local part keeps its quotes if it had them: it leaves as it came. Equality is that
    of the text; `same_as` is that of RFC 5321 section 2.4, where domains ignore case.
    """

    local_part: str
    domain: str

    @property
    def domain_key(self) -> str:
        return domain_key(self.domain)

    def same_as(self, other: Mailbox) -> bool:
        return self.local_part == other.local_part and self.domain_key == other.domain_key

    @property
    def is_ascii(self) -> bool:
        return self.local_part.isascii() and self.domain.isascii()

    @classmethod
    def from_text(cls, text: str) -> Mailbox:
        """Split trusted text (configuration, our own spool) at its last ``@``.

        Raises ValueError if a part is missing or a control character is in it. This is no
        parser for what a client sent: see `edgerelay.smtp.grammar`.
        """
        local_part, at, domain = text.rpartition("@")
        if not (at and local_part and domain) or any(c < " " or c == "\x7f" for c in text):
            raise ValueError(f"not a mailbox: {text!r}")
        return cls(local_part, domain)

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"


@dataclass(frozen=True, slots=True)
class ReversePath:
    """Where failure reports go; ``<>`` (no mailbox) asks for none (RFC 5321 section 4.5.5)."""

    mailbox: Mailbox | None

    @property
    def is_null(self) -> bool:
        return self.mailbox is None

    def __str__(self) -> str:
        mailbox = self.mailbox
        return "<>" if mailbox is None else f"<{mailbox.local_part}@{mailbox.domain}>"


@dataclass(frozen=True, slots=True)
class ForwardPath:
    """One recipient of a mail transaction. A bare ``<postmaster>`` has been given a domain."""

    mailbox: Mailbox

    def __str__(self) -> str:
        return f"<{self.mailbox.local_part}@{self.mailbox.domain}>"


NULL_REVERSE_PATH = ReversePath(None)
