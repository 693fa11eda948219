"""What the DNS said, as plain values, and the one question that everything here answers.

No dnspython type leaves `edgerelay.dns`: who asks sees names and addresses as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final, Protocol


class Status(Enum):
    """Four different answers; only the last one may be otherwise a minute later."""

    FOUND = "found"
    NO_DATA = "no data"  #: the name exists, without records of that type (RFC 2308 section 2.2)
    NXDOMAIN = "no such name"  #: RFC 2308 section 2.1; also a name that no zone can hold
    TEMPORARY = "temporary failure"  #: SERVFAIL, time-out, no server, nonsense


@dataclass(frozen=True, slots=True)
class Mx:
    """One MX record. ``host`` has no final dot; "" is the root: null MX (RFC 7505 section 3)."""

    preference: int
    host: str


#: A, AAAA: the address. MX: `Mx`. TXT: its strings. CNAME, PTR, NS: a name, no final dot.
#: Any other type: its presentation form.
Record = str | Mx | tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """``records`` is empty unless FOUND. ``ttl`` is in seconds, as clamped by who answers.

    ``authentic`` only repeats the AD bit (RFC 4035 section 3.2.3): believe it if you trust
    the server and the path to it.
    """

    status: Status
    records: tuple[Record, ...] = ()
    ttl: float = 0.0
    authentic: bool = False


class Resolver(Protocol):
    """A literal-map form and a caching form pass `edgerelay.testing.check_resolver`."""

    async def resolve(self, name: str, rdtype: str) -> Answer:
        """Ask for ``name``, which is absolute with or without its final dot.

        Never raises but for cancellation: a name that cannot be is NXDOMAIN, whatever else
        went wrong TEMPORARY. The record type is one of ours and upper case, as "MX".
        """


#: Of what else a name may hold (RFC 2181 section 11) mail needs nothing. A space it does need:
#: a macro may write one (RFC 7208 section 7.2). A backslash would be an escape further down.
_LABEL: Final = re.compile(r"[ -\-/-\[\]-~]{1,63}")


@lru_cache(maxsize=8192)
def canonical(name: str) -> str | None:
    """Return a name in lower case without its final dot, or None if no zone can hold it.

    Takes A-labels; the root is no name here (RFC 1035 section 2.3.4 for the sizes).
    """
    short = name.removesuffix(".")
    if len(short) > 253 or not all(_LABEL.fullmatch(label) for label in short.split(".")):
        return None
    return short.lower()


def addresses(answer: Answer) -> tuple[str, ...]:
    """Return the records that are text: those of A, AAAA, PTR, CNAME."""
    return tuple(record for record in answer.records if isinstance(record, str))
