"""What a policy may change of a message that passes: never its body, never a field it keeps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from edgerelay.policy.message import HeaderField

# field-name = 1*ftext (RFC 5322 section 2.2)
_NAME: Final = re.compile(r"[!-9;-~]{1,77}")
_WORD: Final = re.compile(r" *[^ ]*")  # with the spaces before it, which no fold parts
_LONGEST: Final = 998 - 2  #: octets of a line (RFC 5322 section 2.1.1), folded or not


@dataclass(frozen=True, slots=True)
class Prepend:
    """A header field above the message, our own fields above it.

    ``value`` is printable ASCII in one line; when it is written, it is folded at spaces and
    loses those at its end.
    Raises ValueError for what could not be a field (RFC 5322 section 2.2).
    """

    name: str
    value: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a header field")
        if not (self.value.isascii() and self.value.isprintable()):
            raise ValueError(f"the value of {self.name} is not printable ASCII")
        if max(map(len, _WORD.findall(self.value))) > _LONGEST - 80:
            raise ValueError(f"a word in {self.name} is too long for a line")


@dataclass(frozen=True, slots=True)
class Remove:
    """Leave out one field of the message's header: the very one, not its namesakes."""

    field: HeaderField


@dataclass(frozen=True, slots=True)
class RouteTo:
    """Deliver elsewhere: next hops as a route names them, in order of preference."""

    next_hops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddScore:
    """Points, summed over all policies; the sum and its reasons are in the message's event."""

    points: float
    reason: str


Edit: TypeAlias = Prepend | Remove | RouteTo | AddScore
