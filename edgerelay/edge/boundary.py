"""What a session asks of the rest of the relay. It never learns what a next hop is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgerelay.mail.address import ForwardPath, ReversePath
from edgerelay.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Deliverable:
    """The recipient is ours to take; its delivery waits in this lane of the spool."""

    lane: str
    route: object = None  #: equal for recipients that one route of the configuration names


@dataclass(frozen=True, slots=True)
class Refused:
    """The client reads this reply to its RCPT."""

    reply: Reply


class Recipients(Protocol):
    """Decides of one forward-path: where it goes, or why not (RFC 5321 section 3.6)."""

    async def __call__(
        self, forward_path: ForwardPath, reverse_path: ReversePath, *, trusted: bool
    ) -> Deliverable | Refused:
        """``trusted`` clients may relay anywhere. Within the caller's deadline; never raises
        but for cancellation: what could not be found out is a 4yz `Refused`."""


class RouteTo(Protocol):
    """Name the lane to next hops that a policy chose, or None if they are none."""

    def __call__(self, next_hops: tuple[str, ...], /) -> str | None: ...


def no_route(_: tuple[str, ...], /) -> str | None:
    """Of an edge that has no relay behind it."""
    return None
