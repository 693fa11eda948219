"""The addresses of a lane, in the order in which to try them, and what is remembered of each.

It connects to nothing: whoever does tells it what failed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import Final, Protocol

import trio

from edgerelay.relay.connection import Target
from edgerelay.relay.finding import Candidates, NotFound
from edgerelay.relay.routing import LaneSpec
from edgerelay.relay.settings import HopKind, HopTls, NextHop

#: Seconds for which an address that failed is tried after all others.
AVOIDED_FOR: Final = 60.0
#: Seconds for which an address whose handshake failed is spoken to in the clear at once.
PLAIN_FOR: Final = 3600.0
#: Lanes of which something is remembered after they have gone idle.
_REMEMBERED: Final = 1000


class FindsHops(Protocol):
    """See `edgerelay.relay.finding.Finder`."""

    async def find(self, hop: NextHop, domain: str) -> Candidates: ...


class HopMemory:
    """The `Hops` of each lane, for deliveries and callouts alike, the last used kept."""

    def __init__(self, finder: FindsHops) -> None:
        self._finder = finder
        self._lanes: OrderedDict[str, Hops] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lanes)

    def of(self, spec: LaneSpec) -> Hops:
        hops = self._lanes.get(spec.name)
        if hops is None:
            hops = self._lanes[spec.name] = Hops(spec, self._finder)
            if len(self._lanes) > _REMEMBERED:
                self._lanes.popitem(last=False)
        else:
            self._lanes.move_to_end(spec.name)
        return hops


class Hops:
    """Of one lane. Its memory is bounded by the addresses the lane has."""

    def __init__(self, spec: LaneSpec, finder: FindsHops) -> None:
        self._spec = spec
        self._finder = finder
        self._avoided: dict[Target, float] = {}
        self._plain: dict[Target, float] = {}

    async def targets(self) -> AsyncGenerator[Target | NotFound, None]:
        """Yield what to try, in order of preference, those that failed lately last.

        A hop without an address yields why. Names are looked up only when it is their turn.
        """
        later: list[Target] = []
        for hop in self._spec.hops:
            for target in await self._of(hop):
                if isinstance(target, Target) and self._is_avoided(target):
                    later.append(target)
                else:
                    yield target
        for target in later:
            yield target

    async def _of(self, hop: NextHop) -> list[Target] | list[NotFound]:
        if hop.kind in (HopKind.LMTP_UNIX, HopKind.MAILDIR):
            assert hop.path is not None  # noqa: S101 (checked by the configuration; for mypy)
            return [Target(hop.kind, hop.path, "localhost")]
        found = await self._finder.find(hop, self._spec.domain)
        if isinstance(found, NotFound):
            return [found]
        return [Target(hop.kind, (one.ip, one.port), one.name) for one in found.addresses]

    def _is_avoided(self, target: Target) -> bool:
        return self._avoided.get(target, 0.0) > trio.current_time()

    def failed(self, target: Target) -> None:
        """It cannot be connected to, or takes no mail at the moment."""
        now = trio.current_time()
        self._avoided = {one: until for one, until in self._avoided.items() if until > now}
        self._avoided[target] = now + AVOIDED_FOR

    def worked(self, target: Target) -> None:
        self._avoided.pop(target, None)

    def is_domains_own(self, target: Target) -> bool:
        """The recipients' domain itself names it as its exchanger; no configuration does."""
        exchangers = [hop for hop in self._spec.hops if hop.kind is HopKind.MX]
        return target.kind is HopKind.MX and not any(hop.host for hop in exchangers)

    def rule_for(self, target: Target) -> HopTls:
        rule = self._spec.tls
        if rule is HopTls.OPPORTUNISTIC and self._plain.get(target, 0.0) > trio.current_time():
            return HopTls.OFF
        return rule

    def handshake_failed(self, target: Target) -> None:
        now = trio.current_time()
        self._plain = {one: until for one, until in self._plain.items() if until > now}
        self._plain[target] = now + PLAIN_FOR
