"""Which lane a mailbox's mail waits in: routes in, lanes out.

Pure: it resolves no name, opens no socket and keeps no mail. A lane's name is stored in the
spool, so what makes up a name must not change between versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from edgerelay.mail.address import Mailbox, domain_key
from edgerelay.relay.settings import HopKind, HopTls, NextHop, RelaySettings, RouteSettings
from edgerelay.spool.api import REFUSED_LANE

#: How the name of a lane begins that a policy chose.
_CHOSEN: Final = "policy:"
#: Domains whose lane is remembered. Clients choose the domains, so it must be bounded.
_REMEMBERED: Final = 8192


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """A destination: what is tried together, held up together and counted together.

    ``domain`` is the recipients' own where a hop is "mx" ("" otherwise): what `Finder.find`
    wants to know. ``route`` is None where a trusted client mails a domain that no route
    names. Two routes may share a lane, and then differ in ``route``.
    """

    name: str
    hops: tuple[NextHop, ...]
    tls: HopTls = HopTls.OPPORTUNISTIC
    route: RouteSettings | None = None
    domain: str = ""


class Router:
    """The first route that matches a domain wins; domains compare as A-labels."""

    def __init__(self, settings: RelaySettings) -> None:
        self._routes = tuple(_Route(route) for route in settings.routes)
        self._exact: dict[str, int] = {}
        self._below: dict[str, int] = {}
        self._any: int | None = None
        for index, route in enumerate(settings.routes):
            for domain in route.domains:
                self._enter(domain, index)
        self._world = _Route(None)
        self._fixed = {lane.name: lane for route in self._routes if (lane := route.fixed)}
        self._lane = lru_cache(maxsize=_REMEMBERED)(self._lane_of_domain)

    def lane_of(self, mailbox: Mailbox, *, anywhere: bool) -> LaneSpec | None:
        """Return the lane, or None if we do not relay there (550 5.7.1).

        ``anywhere`` is for clients that may relay: a domain no route names goes to its MX.
        """
        return self._lane(mailbox.domain, anywhere)

    def lane_to(self, next_hops: Sequence[str]) -> LaneSpec | None:
        """Return a lane that leads past all routes, as a policy wants it; None if the hops are
        none. A plain "mx" is none: a policy speaks for all recipients of a message."""
        try:
            hops = tuple(NextHop.from_text(text) for text in next_hops)
        except ValueError:
            return None
        if not hops or NextHop(HopKind.MX) in hops:
            return None
        return LaneSpec(_CHOSEN + ",".join(map(str, hops)), hops)

    def lane_named(self, name: str) -> LaneSpec | None:
        """Return the lane that the spool knows as ``name``, or None if no route makes it now."""
        if name in self._fixed:
            return self._fixed[name]
        if name.startswith(_CHOSEN):
            return self.lane_to(name.removeprefix(_CHOSEN).split(","))
        if name == REFUSED_LANE:
            return LaneSpec(name, ())
        for route in (*self._routes, self._world):
            lane = self._lane(domain, True) if (domain := route.domain_in(name)) else None
            if lane is not None and lane.name == name:
                return lane
        return None

    def _enter(self, domain: str, index: int) -> None:
        if domain == "*":
            self._any = index if self._any is None else self._any
        elif domain.startswith("."):
            self._below.setdefault(domain_key(domain[1:]), index)
        else:
            self._exact.setdefault(domain_key(domain), index)

    def _lane_of_domain(self, domain: str, anywhere: bool) -> LaneSpec | None:
        key = domain_key(domain)
        route = self._route_of(key)
        if route is None:
            return self._world.lane(key) if anywhere else None
        return route.lane(key)

    def _route_of(self, key: str) -> _Route | None:
        matches = [self._exact.get(key), self._any]
        parent = key
        while parent := parent.partition(".")[2]:
            matches.append(self._below.get(parent))
        first = min((index for index in matches if index is not None), default=None)
        return None if first is None else self._routes[first]


class _Route:
    """One route and the lanes it makes: a single one, or one a domain if a hop is "mx"."""

    def __init__(self, settings: RouteSettings | None) -> None:
        self._settings = settings
        self._hops = settings.next_hops if settings else (NextHop(HopKind.MX),)
        self._tls = settings.tls if settings else HopTls.OPPORTUNISTIC
        self._spec = LaneSpec("", self._hops, self._tls, settings)
        per_domain = any(hop.kind is HopKind.MX and not hop.host for hop in self._hops)
        self.fixed = None if per_domain else replace(self._spec, name=self._name(""))

    def lane(self, domain: str) -> LaneSpec:
        return self.fixed or replace(self._spec, name=self._name(domain), domain=domain)

    def domain_in(self, name: str) -> str:
        """Return the domain whose lane would have that name, if any has.

        A domain may hold what a name is made of: in an address literal even a comma.
        """
        pieces = self._name("\0").split("\0")
        length = (len(name) - sum(map(len, pieces))) // max(1, len(pieces) - 1)
        start = len(pieces[0])
        domain = name[start : start + max(0, length)]
        return "" if " " in domain else domain  # no domain holds one: these are TLS rules

    def _name(self, domain: str) -> str:
        hops = ",".join(
            f"mx:{domain}" if hop.kind is HopKind.MX and not hop.host else str(hop)
            for hop in self._hops
        )
        # The same hops under other TLS rules are another lane: their mail must not mix.
        return hops if self._tls is HopTls.OPPORTUNISTIC else f"{hops} tls={self._tls.value}"
