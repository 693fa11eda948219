"""What a listener offers in its answer to EHLO (RFC 5321 section 4.1.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from edgerelay.mail.reply import Reply
from edgerelay.smtp import xclient


@dataclass(frozen=True, slots=True)
class Extensions:
    """What is on offer at this moment; the six that are always offered have no field.

    ``size`` is the largest message in octets, 0 for no limit (RFC 1870 section 4);
    ``recipients`` the most of one message, 0: not told (RFC 9422).
    """

    size: int
    starttls: bool = False
    recipients: int = 0
    binarymime: bool = False
    requiretls: bool = False
    prdr: bool = False
    xclient: bool = False


@lru_cache(maxsize=64)
def ehlo_reply(hostname: str, extensions: Extensions) -> Reply:
    """The positive answer to EHLO. It carries no enhanced code (RFC 2034 section 4)."""
    keywords = [
        "PIPELINING",
        f"SIZE {extensions.size}",
        *(["STARTTLS"] if extensions.starttls else []),
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "DSN",
        "SMTPUTF8",
        "CHUNKING",
        *(["BINARYMIME"] if extensions.binarymime else []),
        *([f"LIMITS RCPTMAX={extensions.recipients}"] if extensions.recipients else []),
        *(["REQUIRETLS"] if extensions.requiretls else []),
        *(["PRDR"] if extensions.prdr else []),
        *([xclient.KEYWORD] if extensions.xclient else []),
    ]
    return Reply(250, "", hostname, tuple(keywords))
