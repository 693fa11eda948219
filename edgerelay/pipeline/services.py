"""What one policy is lent: names, tables, threads, connections and a voice, each bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar

import trio

from edgerelay.dns.answer import Answer, addresses
from edgerelay.mail.address import domain_key
from edgerelay.observe.escape import escape
from edgerelay.observe.events import Observer, PolicyNote
from edgerelay.policy import Log, Resolver, Table
from edgerelay.runtime import Clock, RunBlocking
from edgerelay.tables.api import Tables

T = TypeVar("T")

#: The addresses that the machine itself gives a lower-case name, or none.
Hosts = Callable[[str], Awaitable[Sequence[str]]]

#: Threads of one policy. One whose threads hang waits for itself, and nobody waits for it.
_THREADS: Final = 16
#: Of what a policy writes into the log: facts, and characters of a name, a value and the text.
_FACTS, _NAME, _VALUE, _TEXT = 16, 64, 300, 500
#: Addresses of a scanner that are tried.
_ADDRESSES: Final = 10


async def _no_hosts(name: str) -> Sequence[str]:
    return ()


class RelayServices:
    """`edgerelay.policy.Services` in a relay: one set for each configured policy.

    ``observed``: its tables are others than those it has when it is enforced. ``run_blocking``
    None: threads, left behind when whoever waits is cancelled.
    """

    def __init__(
        self,
        name: str,
        *,
        observed: bool,
        hostname: str,
        resolver: Resolver,
        tables: Tables,
        clock: Clock,
        observer: Observer,
        hosts: Hosts = _no_hosts,
        run_blocking: RunBlocking | None = None,
    ) -> None:
        self._namespace = f"{'observed' if observed else 'policy'}:{name}"
        self._hostname, self._resolver, self._tables = hostname, resolver, tables
        self._clock, self._hosts, self._run_blocking = clock, hosts, run_blocking
        self._threads = trio.CapacityLimiter(_THREADS)
        self._log = _Notes(name, observer)

    @property
    def hostname(self) -> str:
        return self._hostname

    @property
    def dns(self) -> Resolver:
        return self._resolver

    @property
    def log(self) -> Log:
        return self._log

    def now(self) -> float:
        return self._clock()

    def table(self, name: str = "") -> Table:
        return self._tables.table(f"{self._namespace}:{name}" if name else self._namespace)

    async def connect(self, address: tuple[str, int] | Path, *, timeout: float) -> trio.abc.Stream:
        try:
            with trio.fail_after(timeout):
                if isinstance(address, Path):
                    return await trio.open_unix_socket(str(address))
                return await self._connect(*address)
        except trio.TooSlowError:
            raise TimeoutError(f"no connection to {_text(address)} in {timeout:g} s") from None
        except (ValueError, OverflowError) as error:  # a name or a path that no system call takes
            raise OSError(f"no connection to {_text(address)}: {error}") from error

    async def run_blocking(self, function: Callable[[], T], /) -> T:
        if self._run_blocking is not None:
            return await self._run_blocking(function)
        return await trio.to_thread.run_sync(
            function, abandon_on_cancel=True, limiter=self._threads
        )

    async def _connect(self, host: str, port: int) -> trio.abc.Stream:
        refused: OSError | None = None
        for literal in await self._addresses(host):
            try:  # one after the other: the order is the administrator's or the resolver's
                return await _open(literal, port)
            except OSError as error:
                refused = error
        if refused is None:
            raise OSError(f"{_text((host, port))} has no address")
        try:
            raise refused
        finally:
            del refused  # with this frame in its traceback it would be a cycle, and hold a message

    async def _addresses(self, host: str) -> Sequence[str]:
        """Not through getaddrinfo: it would ask other servers, in a thread nobody can stop."""
        try:
            return (str(ip_address(host)),)
        except ValueError:
            name = domain_key(host)
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3
            return ("127.0.0.1", "::1")
        if own := await self._hosts(name):
            return own[:_ADDRESSES]
        answers: dict[str, Answer] = {}

        async def ask(rdtype: str) -> None:
            answers[rdtype] = await self._resolver.resolve(name, rdtype)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "A")
            nursery.start_soon(ask, "AAAA")
        return (*addresses(answers["A"]), *addresses(answers["AAAA"]))[:_ADDRESSES]


async def _open(literal: str, port: int) -> trio.SocketStream:
    family = trio.socket.AF_INET6 if ":" in literal else trio.socket.AF_INET
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        await sock.connect((literal, port))
        return trio.SocketStream(sock)
    except BaseException:
        sock.close()
        raise


class _Notes:
    """`edgerelay.policy.Log`. It never raises: not even for a fact that cannot be written."""

    def __init__(self, policy: str, observer: Observer) -> None:
        self._policy, self._observer = policy, observer

    def __call__(self, text: str, /, **facts: object) -> None:
        told = {escape(name, _NAME): _shown(value) for name, value in list(facts.items())[:_FACTS]}
        self._observer(PolicyNote(policy=self._policy, text=escape(text, _TEXT), facts=told))


def _shown(value: object) -> str:
    try:
        return escape(str(value), _VALUE)
    except Exception as error:  # its own __str__, written by whoever wrote the policy
        return f"({type(error).__name__})"


def _text(address: tuple[str, int] | Path) -> str:
    return str(address) if isinstance(address, Path) else f"{address[0]} port {address[1]}"
