"""Asks recursive servers, through dnspython on Trio: UDP, and TCP if that was not enough.

Keeps nothing and limits nothing: `edgerelay.dns.caching` stands in front. dnspython's own
stub resolver is not used: it costs half as much again a question, overruns its lifetime,
and cannot be told where the servers are without a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import trio
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.TXT import TXT

from edgerelay.dns.answer import Answer, Mx, Record, Status, canonical

Server = tuple[str, int]  #: address literal and port

RESOLV_CONF: Final = Path("/etc/resolv.conf")
_SERVERS: Final = 3  #: of resolv.conf that are used, as resolv.conf(5) has it
_ROUNDS: Final = 2  #: a datagram may get lost
_REREAD: Final = 5.0  #: seconds between two looks at resolv.conf while nothing answers
#: Octets of a datagram; avoids fragments (RFC 9715 section 3).
_PAYLOAD: Final = 1232


class DnspythonUpstream:
    """``servers`` are asked in turn; none named: those of resolv.conf, read again when they
    do not answer. No server at all is a temporary failure. ``timeout`` is in seconds.
    """

    def __init__(
        self,
        servers: Sequence[Server] = (),
        timeout: float = 5.0,
        *,
        resolv_conf: Path = RESOLV_CONF,
    ) -> None:
        self._file = None if servers else resolv_conf
        self._servers = tuple(servers) or read_servers(resolv_conf)
        self._timeout = timeout
        self._read_at = float("-inf")
        self._backend = dns.asyncbackend.get_backend("trio")

    async def resolve(self, name: str, rdtype: str) -> Answer:
        """See `edgerelay.dns.answer.Resolver.resolve`."""
        known = canonical(name)
        if known is None:
            return Answer(Status.NXDOMAIN)
        try:
            absolute = dns.name.from_text(known, dns.name.root)
            query = dns.message.make_query(absolute, rdtype, use_edns=0, payload=_PAYLOAD)
        except dns.exception.DNSException:
            return Answer(Status.NXDOMAIN)
        query.flags |= dns.flags.AD  # RFC 6840 section 5.7: tell us, without the signatures
        with trio.move_on_after(self._timeout):
            return await self._ask_all(query)
        self._read_again()
        return Answer(Status.TEMPORARY)

    async def _ask_all(self, query: dns.message.Message) -> Answer:
        servers = self._servers
        share = self._timeout / max(len(servers) * _ROUNDS, 1)
        for server in servers * _ROUNDS:
            with trio.move_on_after(share):
                answer = await self._ask(query, server)
                if answer is not None:
                    return answer
        self._read_again()
        return Answer(Status.TEMPORARY)

    async def _ask(self, query: dns.message.Message, server: Server) -> Answer | None:
        """Return what one server knows, or None if another one should be asked."""
        where, port = server
        try:
            response, _ = await dns.asyncquery.udp_with_fallback(
                query,
                where,
                port=port,
                ignore_unexpected=True,  # a forged datagram must not end the wait for ours
                ignore_errors=True,
                backend=self._backend,
            )
            return _answer(response)
        except (dns.exception.DNSException, OSError, EOFError, ValueError):
            return None

    def _read_again(self) -> None:
        now = trio.current_time()
        if self._file is not None and now >= self._read_at + _REREAD:
            self._read_at = now
            self._servers = read_servers(self._file)


def read_servers(resolv_conf: Path) -> tuple[Server, ...]:
    """Return the name servers of a resolv.conf; none if there is no such file."""
    try:
        lines = resolv_conf.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    words = (line.split() for line in lines)
    servers = [(word[1], 53) for word in words if word[:1] == ["nameserver"] and len(word) > 1]
    return tuple(servers[:_SERVERS])


def _answer(response: dns.message.Message) -> Answer | None:
    rcode = response.rcode()
    authentic = bool(response.flags & dns.flags.AD)
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return None
    if not isinstance(response, dns.message.QueryMessage):
        return None
    chain = response.resolve_chaining()
    ttl = float(chain.minimum_ttl)
    if rcode == dns.rcode.NXDOMAIN:
        return Answer(Status.NXDOMAIN, (), ttl, authentic)
    if chain.answer is not None:
        records = tuple(_record(rdata) for rdata in chain.answer)
        return Answer(Status.FOUND, records, ttl, authentic)
    if not response.flags & (dns.flags.RA | dns.flags.AA):
        return None  # neither recursive nor authoritative: a referral says nothing
    return Answer(Status.NO_DATA, (), ttl, authentic)


def _record(rdata: dns.rdata.Rdata) -> Record:
    match rdata:
        case MX():
            return Mx(rdata.preference, _host(rdata.exchange))
        case TXT():
            return tuple(rdata.strings)
        case CNAME() | PTR() | NS():
            return _host(rdata.target)
        case _:
            return rdata.to_text()


def _host(name: dns.name.Name) -> str:
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True)
