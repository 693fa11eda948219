"""The DNS as a literal map: as a `Resolver`, and as a real server on loopback.

A zone is written down as it is read: ``{("example.com", "MX"): [Mx(10, "mx.example.com")]}``.
A name that stands nowhere is NXDOMAIN, one without that type has no data.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio

from edgerelay.dns.answer import Answer, Mx, Record, Status, canonical


class Fault(Enum):
    """What may stand in a zone instead of records."""

    TIMEOUT = "no answer comes, ever"
    SERVFAIL = "the server says that it failed"


Zone = Mapping[tuple[str, str], Sequence[Record] | Fault]

TTL: Final = 300  #: seconds, of every answer
_CHAIN: Final = 8  #: CNAMEs that are followed
_DATAGRAM: Final = 512  #: octets a client takes that says nothing else (RFC 1035 section 2.3.4)


class LiteralResolver:
    """Answers from a zone. ``asked`` lists every question, in order.

    `Fault.TIMEOUT` waits for ever, for the sake of a resolver in front that must not.
    """

    def __init__(self, zone: Zone) -> None:
        self._zone = {(_known(name), rdtype): records for (name, rdtype), records in zone.items()}
        self._names = {name for name, _ in self._zone}
        self.asked: list[tuple[str, str]] = []

    async def resolve(self, name: str, rdtype: str) -> Answer:
        """See `edgerelay.dns.answer.Resolver.resolve`."""
        await trio.lowlevel.checkpoint()
        known = canonical(name)
        if known is None:
            return Answer(Status.NXDOMAIN)
        self.asked.append((known, rdtype))
        _, found = self.look_up(known, rdtype)
        if found is Fault.TIMEOUT:
            await trio.sleep_forever()
        if isinstance(found, Fault):
            return Answer(Status.TEMPORARY)
        if found is not None:
            status = Status.FOUND if found else Status.NO_DATA
            return Answer(status, tuple(found), ttl=TTL)
        return Answer(Status.NXDOMAIN, ttl=TTL)

    def look_up(
        self, name: str, rdtype: str
    ) -> tuple[list[tuple[str, str]], Sequence[Record] | Fault | None]:
        """Return the CNAMEs followed, and records, no data (empty) or no such name (None)."""
        chain: list[tuple[str, str]] = []
        while (name, rdtype) not in self._zone and (name, "CNAME") in self._zone:
            alias = self._zone[name, "CNAME"]
            if isinstance(alias, Fault) or len(chain) == _CHAIN:
                return chain, Fault.SERVFAIL
            target = _known(str(alias[0]))
            chain.append((name, target))
            name = target
        if name not in self._names and not any(
            known.endswith(f".{name}") for known in self._names
        ):
            return chain, None
        return chain, self._zone.get((name, rdtype), ())


async def serve_dns(zone: Zone, nursery: trio.Nursery) -> int:
    """Serve a zone over UDP and TCP on 127.0.0.1 and return the port; ends with ``nursery``."""
    resolver = LiteralResolver(zone)
    while True:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        port: int = listener.socket.getsockname()[1]
        udp = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            await udp.bind(("127.0.0.1", port))
        except OSError:  # that port is somebody's on UDP: take another
            udp.close()
            await listener.aclose()
            continue
        nursery.start_soon(_serve_udp, resolver, udp)
        nursery.start_soon(_serve_tcp, resolver, listener)
        return port


async def _serve_udp(resolver: LiteralResolver, udp: trio.socket.SocketType) -> None:
    with udp:
        while True:
            wire, client = await udp.recvfrom(65535)
            if (answer := _respond(resolver, wire, over_udp=True)) is not None:
                await udp.sendto(answer, client)


async def _serve_tcp(resolver: LiteralResolver, listener: trio.SocketListener) -> None:
    async def converse(stream: trio.SocketStream) -> None:
        data = b""
        async with stream:
            while chunk := await stream.receive_some():
                data += chunk
                while len(data) >= 2 and len(data) >= 2 + int.from_bytes(data[:2], "big"):
                    end = 2 + int.from_bytes(data[:2], "big")
                    wire, data = data[2:end], data[end:]
                    if (answer := _respond(resolver, wire, over_udp=False)) is not None:
                        await stream.send_all(len(answer).to_bytes(2, "big") + answer)

    async def shelter(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # the client's business
            await converse(stream)

    await trio.serve_listeners(shelter, [listener])


def _respond(resolver: LiteralResolver, wire: bytes, *, over_udp: bool) -> bytes | None:
    try:
        query = dns.message.from_wire(wire)
        question = query.question[0]
    except (dns.exception.DNSException, IndexError):
        return None
    response = dns.message.make_response(query, recursion_available=True)
    asked = b".".join(question.name.labels).decode("latin-1")  # to_text() would add escapes
    chain, found = resolver.look_up(canonical(asked) or "", dns.rdatatype.to_text(question.rdtype))
    match found:
        case Fault.TIMEOUT:
            return None
        case Fault.SERVFAIL:
            response.set_rcode(dns.rcode.SERVFAIL)
        case None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        case _:
            _fill(response, chain, found)
    if not response.answer:
        soa = f"ns. hostmaster. 1 3600 600 86400 {TTL}"
        response.authority.append(dns.rrset.from_text(".", TTL, "IN", "SOA", soa))
    if not over_udp:
        return response.to_wire(max_size=65535)
    try:
        return response.to_wire(max_size=query.payload or _DATAGRAM)
    except dns.exception.TooBig:
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()


def _fill(
    response: dns.message.Message, chain: list[tuple[str, str]], found: Sequence[Record]
) -> None:
    question = response.question[0]
    owner = question.name.to_text()
    for name, target in chain:
        response.answer.append(dns.rrset.from_text(f"{name}.", TTL, "IN", "CNAME", f"{target}."))
        owner = f"{target}."
    if found:
        rdtype = dns.rdatatype.to_text(question.rdtype)
        texts = [_text(record, rdtype) for record in found]
        response.answer.append(dns.rrset.from_text(owner, TTL, "IN", rdtype, *texts))


def _text(record: Record, rdtype: str) -> str:
    match record:
        case Mx(preference, host):
            return f"{preference} {host}."
        case str():
            return f"{record}." if rdtype in ("CNAME", "PTR", "NS") else record
        case _:
            return " ".join(_quoted(string) for string in record)


def _quoted(string: bytes) -> str:
    return '"' + "".join(f"\\{octet:03d}" for octet in string) + '"'


def _known(name: str) -> str:
    known = canonical(name)
    if known is None:
        raise ValueError(f"{name!r} can stand in no zone")
    return known
