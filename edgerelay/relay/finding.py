"""From a next hop to the addresses to try, in order (RFC 5321 section 5.1).

It asks the DNS and judges what it says; it connects to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import groupby
from typing import Final, Protocol

import trio

from edgerelay.dns.answer import Answer, Mx, Resolver, Status, addresses
from edgerelay.mail.address import domain_key
from edgerelay.mail.reply import Reply
from edgerelay.relay.settings import HopKind, NextHop

SMTP_PORT: Final = 25

#: Mail exchangers whose addresses are asked for. Stranger's zones may list hundreds; RFC 5321
#: section 5.1 wants at least two tried.
_EXCHANGERS: Final = 10
#: Addresses returned; also those used of any one host.
_ADDRESSES: Final = 20

_NULL_MX = Reply(556, "5.1.10", "The domain accepts no mail (null MX)")
_NO_DOMAIN = Reply(550, "5.1.2", "The domain does not exist")
_NO_ADDRESS = Reply(550, "5.4.4", "The domain has no mail exchanger with an address")
_LOOP = Reply(554, "5.4.6", "Mail for the domain leads back to this relay")
_DNS_DOWN = Reply(451, "4.4.3", "The DNS gave no answer about the next hop")
_HOP_UNKNOWN = Reply(451, "4.4.4", "The configured next hop has no address")


@dataclass(frozen=True, slots=True)
class Address:
    """One address to connect to. ``name`` is the host's, for TLS and logs, else the address."""

    ip: str
    port: int
    name: str

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


@dataclass(frozen=True, slots=True)
class Found:
    """Try these from first to last; there is at least one."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is nothing to connect to: for now (4yz) or at all (5yz), in our own words."""

    reply: Reply


Candidates = Found | NotFound


class Hosts(Protocol):
    """The machine's own names, which only a configured next hop may use."""

    async def __call__(self, name: str) -> Sequence[str]:
        """Return the addresses of a lower-case name, or none."""


async def no_hosts(name: str) -> Sequence[str]:
    return ()


class Finder:
    """``own_addresses`` are those where we listen on port 25; ``shuffle`` works in place.

    What a *configured* hop lacks is never a permanent failure: an administrator's slip or a
    zone being edited must not send the whole queue back.
    """

    def __init__(
        self,
        resolver: Resolver,
        hostname: str,
        *,
        own_addresses: Collection[str] = (),
        shuffle: Callable[[list[Mx]], None],
        hosts: Hosts = no_hosts,
    ) -> None:
        self._resolver = resolver
        self._own_name = domain_key(hostname)
        self._own_addresses = frozenset(str(ip_address(own)) for own in own_addresses)
        self._shuffle = shuffle
        self._hosts = hosts

    async def find(self, hop: NextHop, domain: str) -> Candidates:
        """Find the addresses of a hop on the network. ``domain`` is `LaneSpec.domain`."""
        if hop.kind is HopKind.MX:
            if not hop.host:
                return await self._find_mx(domain)
            found = await self._find_mx(domain_key(hop.host))
        else:
            found = await self._find_host(hop.host, hop.port)
        if isinstance(found, NotFound) and found.reply.is_permanent:
            return NotFound(_HOP_UNKNOWN)
        return found

    async def _find_host(self, host: str, port: int) -> Candidates:
        if literal := _address_of(host):
            return Found((Address(literal, port, literal),))
        name = domain_key(host)
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3
            return Found(_at(("127.0.0.1", "::1"), port, name))
        if own := await self._hosts(name):
            return Found(_at(own, port, name))
        looked_up = await self._look_up((name,))
        known, unsure = looked_up[name]
        if known:
            return Found(_at(known, port, name))
        return NotFound(_DNS_DOWN if unsure else _NO_ADDRESS)

    async def _find_mx(self, domain: str) -> Candidates:
        if literal := _address_of(domain):  # RFC 5321 section 4.1.3: it is its own exchanger
            if literal in self._own_addresses:
                return NotFound(_LOOP)
            return Found((Address(literal, SMTP_PORT, literal),))
        exchangers = _exchangers(domain, await self._resolver.resolve(domain, "MX"))
        if isinstance(exchangers, NotFound):
            return exchangers
        own = [mx.preference for mx in exchangers if domain_key(mx.host) == self._own_name]
        before_us = self._in_order(_better_than(own, exchangers))
        if not before_us:
            return NotFound(_LOOP)
        looked_up = await self._look_up([domain_key(mx.host) for mx in before_us])
        return self._choose(before_us, looked_up)

    def _choose(self, exchangers: list[Mx], looked_up: _LookedUp) -> Candidates:
        own = [
            mx.preference
            for mx in exchangers
            if not self._own_addresses.isdisjoint(looked_up[domain_key(mx.host)][0])
        ]
        remaining = _better_than(own, exchangers)
        if not remaining:
            return NotFound(_LOOP)
        found = [
            address
            for mx in remaining
            for address in _at(_public(looked_up[domain_key(mx.host)][0]), SMTP_PORT, mx.host)
        ]
        if found:
            return Found(tuple(found[:_ADDRESSES]))
        unsure = any(looked_up[domain_key(mx.host)][1] for mx in remaining)
        return NotFound(_DNS_DOWN if unsure else _NO_ADDRESS)

    def _in_order(self, exchangers: list[Mx]) -> list[Mx]:
        """Sort by preference; equals in random order, to share the load among them."""
        ordered: list[Mx] = []
        by_preference = sorted(exchangers, key=lambda mx: mx.preference)
        for _, equals in groupby(by_preference, key=lambda mx: mx.preference):
            group = list(equals)
            self._shuffle(group)
            ordered += group
        return ordered[:_EXCHANGERS]

    async def _look_up(self, names: Sequence[str]) -> _LookedUp:
        """Ask for both kinds of address of every name at once."""
        answers: dict[tuple[str, str], Answer] = {}

        async def ask(name: str, rdtype: str) -> None:
            answers[name, rdtype] = await self._resolver.resolve(name, rdtype)

        async with trio.open_nursery() as nursery:
            for name in dict.fromkeys(names):
                nursery.start_soon(ask, name, "A")
                nursery.start_soon(ask, name, "AAAA")
        return {name: _both(answers[name, "A"], answers[name, "AAAA"]) for name in names}


#: Host name to its addresses, and whether a question about it had no answer.
_LookedUp = dict[str, tuple[tuple[str, ...], bool]]


def _both(a: Answer, aaaa: Answer) -> tuple[tuple[str, ...], bool]:
    # IPv4 first: it is where most senders have a name and a reputation.
    unsure = Status.TEMPORARY in (a.status, aaaa.status)
    return (addresses(a) + addresses(aaaa))[:_ADDRESSES], unsure


def _exchangers(domain: str, answer: Answer) -> list[Mx] | NotFound:
    match answer.status:
        case Status.TEMPORARY:
            return NotFound(_DNS_DOWN)
        case Status.NXDOMAIN:
            return NotFound(_NO_DOMAIN)
        case Status.NO_DATA:
            return [Mx(0, domain)]  # RFC 5321 section 5.1: the implicit MX
        case Status.FOUND:
            records = [record for record in answer.records if isinstance(record, Mx)]
            named = [mx for mx in records if mx.host]
            return named or NotFound(_NULL_MX)  # RFC 7505 section 3


def _better_than(own: list[int], exchangers: list[Mx]) -> list[Mx]:
    """Drop ourselves and all that are no better (RFC 5321 section 5.1, on looping)."""
    return [mx for mx in exchangers if not own or mx.preference < min(own)]


def _public(texts: Sequence[str]) -> list[str]:
    """Leave out what no stranger's exchanger can be: 0.0.0.0 would be ourselves."""
    parsed = [ip_address(text) for text in texts]
    return [str(ip) for ip in parsed if not (ip.is_unspecified or ip.is_multicast)]


def _at(texts: Sequence[str], port: int, name: str) -> tuple[Address, ...]:
    return tuple(Address(text, port, name) for text in texts[:_ADDRESSES])


def _address_of(host: str) -> str:
    """Return the address that a host or a domain literal spells, or ""."""
    text = host.lower()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].removeprefix("ipv6:")
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
