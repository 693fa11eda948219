"""One worker process: receives, commits and delivers; a nursery inside a nursery each.

    spool                          the truth outlives the rest
    └ services                     reaper, DNS, tables, the supervisor's channel
      └ policies                   opened in the order of the configuration, closed in reverse
        └ relay-out                cancelled once nobody is left who could hand it mail
          └ sessions               get a deadline once accepting ends
            └ accepting            ends at a drain, or when the supervisor is gone

Leaving the blocks in order is the shutdown. The worker learns everything it needs from the
first message on its channel; it reads no configuration and binds nothing.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from typing import Final, Never

import trio

from edgerelay.control.assignment import REFUSED_TO_START, Assignment
from edgerelay.control.channel import Channel
from edgerelay.control.frames import FrameError
from edgerelay.control.messages import (
    Answer,
    Ask,
    ClientCounts,
    Configure,
    Drain,
    Failure,
    Heartbeat,
    LanesAnswered,
    Message,
    OthersCounts,
    Request,
    Response,
    StatusRequest,
    WorkerReady,
)
from edgerelay.control.queue import answer_queue
from edgerelay.control.status import worker_status
from edgerelay.dns.answer import Resolver
from edgerelay.dns.caching import CachingResolver
from edgerelay.dns.upstream import DnspythonUpstream
from edgerelay.edge.boundary import Deliverable, Recipients, Refused, RouteTo
from edgerelay.edge.limits import ClientLimits
from edgerelay.edge.server import Edge
from edgerelay.edge.settings import ListenerSettings, ListenerTls
from edgerelay.mail.address import ForwardPath, ReversePath
from edgerelay.net.endpoint import endpoint_text
from edgerelay.net.reaper import Reaper
from edgerelay.net.socket_transport import dial
from edgerelay.net.tls import server_context
from edgerelay.observe.counters import Counters
from edgerelay.observe.events import Event, LaneUp, Observer, Trouble
from edgerelay.observe.log import LogWriter
from edgerelay.observe.tee import tee
from edgerelay.pipeline.policies import NotOpened, Policies, open_policies
from edgerelay.pipeline.services import RelayServices
from edgerelay.pipeline.settings import Mode, PolicySettings
from edgerelay.relay.finding import SMTP_PORT, Finder
from edgerelay.relay.hosts_file import HostsFile
from edgerelay.relay.recipients import Accepted, RecipientCheck
from edgerelay.relay.relay import Relay
from edgerelay.relay.routing import Router
from edgerelay.runtime import Clock, in_thread
from edgerelay.spool import SpoolTooNew, open_spool
from edgerelay.spool.api import Spool, SpoolError
from edgerelay.tables import MemoryTables, SqliteTables, Tables

#: Seconds between two reports of who is connected here.
REPORT_INTERVAL: Final = 0.1
#: Seconds between signs of life; the supervisor ends a worker after 30 s without one.
HEARTBEAT_INTERVAL: Final = 1.0
#: Exit status that tells the supervisor that another try may succeed soon.
TRY_AGAIN: Final = 1


@dataclass(frozen=True, slots=True)
class Worker:
    """The parts of a running worker, as its channel's questions need them."""

    assignment: Assignment
    spool: Spool
    relay: Relay
    edge: Edge
    policies: Policies
    limits: ClientLimits
    counters: Counters
    log: LogWriter
    clock: Clock

    async def answer(self, request: Request) -> Response:
        """Answer an operator. What fails is a `Failure` and an event, never the worker."""
        try:
            if isinstance(request, StatusRequest):
                return await worker_status(
                    worker=self.assignment.worker,
                    pid=os.getpid(),
                    state="draining" if self.edge.is_stopping else "running",
                    counters=self.counters,
                    policies=self.policies.counts.by_policy(),
                    gauges=self.edge.gauges(),
                    spool=self.spool,
                    lanes=self.relay.lanes_now(),
                    dropped_events=self.log.dropped,
                )
            return await answer_queue(request, self.spool, self.relay, self.clock)
        except Exception as error:
            self.log(Trouble(where="control", what="a question failed", detail=repr(error)))
            return Failure(text=f"worker {self.assignment.worker} could not answer; see its log")


class LanesThatAnswered:
    """An observer that remembers which lanes are up again, for the other workers."""

    def __init__(self) -> None:
        self._lanes: list[str] = []

    def __call__(self, event: Event, /) -> None:
        if type(event) is LaneUp:
            self._lanes.append(event.lane)

    def take(self) -> tuple[str, ...]:
        lanes, self._lanes = tuple(self._lanes), []
        return lanes


@dataclass(slots=True)
class DrainOrder:
    """Set once: by the supervisor's word, or by its end."""

    given: trio.Event
    within: float  #: seconds that sessions get


async def work(assignment: Assignment, channel: Channel, log: LogWriter, clock: Clock) -> int:
    """Run one worker until it is drained or its supervisor is gone. Returns its exit status.

    Raises `SpoolError` before anything has started.
    """
    counters, answered = Counters(), LanesThatAnswered()
    observer = tee(counters, answered, log)
    order = DrainOrder(trio.Event(), assignment.drain)
    async with AsyncExitStack() as stack:
        spool = await stack.enter_async_context(
            open_spool(
                assignment.shard,
                run_blocking=in_thread,
                clock=clock,
                observer=observer,
                min_free_space=assignment.min_free_space,
            )
        )
        services = await stack.enter_async_context(trio.open_nursery())
        stack.callback(services.cancel_scope.cancel)
        reaper = Reaper()
        services.start_soon(reaper.run)
        tables = await _tables(assignment, clock, stack)
        upstream = DnspythonUpstream(assignment.dns_servers, timeout=assignment.dns_timeout)
        resolver = CachingResolver(
            upstream, services, timeout=assignment.dns_timeout, observer=observer
        )
        hosts = HostsFile(in_thread)
        lend = _lender(assignment, resolver, tables, clock, observer, hosts)
        try:
            policies = await stack.enter_async_context(
                open_policies(assignment.policies, lend, observer)
            )
        except NotOpened as error:
            where = f"policy {error.policy}"
            observer(Trouble(where=where, what="cannot be opened", detail=error.reason))
            return REFUSED_TO_START
        finder = Finder(
            resolver,
            assignment.relay.hostname,
            own_addresses=_own_addresses(assignment.listener_fds),
            shuffle=random.shuffle,
            hosts=hosts,
        )
        router = Router(assignment.relay)
        dialer = partial(dial, reaper=reaper)
        limits = ClientLimits(assignment.edge)
        relay = Relay(assignment.relay, spool, router, finder, dialer, observer, clock)
        check = RecipientCheck(router, tables, relay.probe, observer, clock, in_thread)
        edge = Edge(
            assignment.edge,
            spool,
            _asking(check),
            observer,
            clock,
            limits,
            reaper,
            policies,
            _routing(router),
        )
        worker = Worker(assignment, spool, relay, edge, policies, limits, counters, log, clock)

        services.start_soon(_listen, channel, worker, order, services)
        services.start_soon(_report, channel, limits, answered)
        async with trio.open_nursery() as delivering:
            delivering.start_soon(relay.run)
            await _receive(worker, channel, order)
            delivering.cancel_scope.cancel()
    return 0


async def _tables(assignment: Assignment, clock: Clock, stack: AsyncExitStack) -> Tables:
    if assignment.tables_backend == "memory":
        return MemoryTables(clock)
    return await stack.enter_async_context(
        SqliteTables(assignment.state_dir / "tables.db", in_thread, clock)
    )


def _lender(
    assignment: Assignment,
    resolver: Resolver,
    tables: Tables,
    clock: Clock,
    observer: Observer,
    hosts: HostsFile,
) -> Callable[[PolicySettings], RelayServices]:
    """What each policy is lent: the worker's own parts, under the policy's name."""

    def lend(settings: PolicySettings) -> RelayServices:
        return RelayServices(
            settings.name,
            observed=settings.mode is Mode.OBSERVE,
            hostname=assignment.edge.hostname,
            resolver=resolver,
            tables=tables,
            clock=clock,
            observer=observer,
            hosts=hosts,
        )

    return lend


def _asking(check: RecipientCheck) -> Recipients:
    """The relay's knowledge of recipients in the edge's words: neither knows the other."""

    async def ask(
        forward_path: ForwardPath, reverse_path: ReversePath, *, trusted: bool
    ) -> Deliverable | Refused:
        answer = await check(forward_path, reverse_path, trusted=trusted)
        if isinstance(answer, Accepted):
            return Deliverable(answer.lane)
        return Refused(answer.reply)

    return ask


def _routing(router: Router) -> RouteTo:
    def route_to(next_hops: tuple[str, ...]) -> str | None:
        lane = router.lane_to(next_hops)
        return lane.name if lane else None

    return route_to


async def _receive(worker: Worker, channel: Channel, order: DrainOrder) -> None:
    """Accept until the order to drain, then serve who is there for as long as it allows."""
    async with trio.open_nursery() as sessions:
        # Closed as soon as nobody accepts here: a new supervisor may want the address.
        with ExitStack() as listeners:
            async with trio.open_nursery() as accepting:
                for listening, listener in _listeners(worker.assignment):
                    listeners.enter_context(listening)
                    accepting.start_soon(worker.edge.accept, listening, listener, sessions)
                await _say(channel, WorkerReady())
                await order.given.wait()
                accepting.cancel_scope.cancel()
        worker.edge.stop()
        sessions.cancel_scope.deadline = trio.current_time() + order.within


def _listeners(assignment: Assignment) -> list[tuple[socket.socket, ListenerSettings]]:
    """The inherited sockets, each with its settings, its real address and its context."""
    context = server_context(*assignment.tls_files) if assignment.tls_files else None
    pairs = []
    for fd, settings in zip(assignment.listener_fds, assignment.listeners, strict=True):
        listening = socket.socket(fileno=fd)
        listening.setblocking(False)
        tls = None if settings.tls is ListenerTls.OFF else context
        name = endpoint_text(listening.family, listening.getsockname())
        pairs.append((listening, replace(settings, name=name, tls_context=tls)))
    return pairs


def _own_addresses(fds: Sequence[int]) -> set[str]:
    """Where we listen on port 25: an exchanger there is ourselves (RFC 5321 section 5.1)."""
    own = set()
    for fd in fds:
        with socket.socket(fileno=os.dup(fd)) as listening:
            host, port = listening.getsockname()[:2]
            if port == SMTP_PORT and not ip_address(host).is_unspecified:
                own.add(host)
    return own


async def _say(channel: Channel, message: Message) -> None:
    """Say it if the supervisor is there; if it is not, `_listen` learns of it."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await channel.send(message)


async def _listen(
    channel: Channel, worker: Worker, order: DrainOrder, services: trio.Nursery
) -> None:
    """Do what the supervisor says; its end is an order to drain."""

    async def answer(ask: Ask) -> None:
        await _say(channel, Answer(id=ask.id, response=await worker.answer(ask.request)))

    try:
        while (message := await channel.receive()) is not None:
            match message:
                case Ask():
                    services.start_soon(answer, message)
                case OthersCounts(counts=counts, arrivals=arrivals):
                    worker.limits.elsewhere(counts, arrivals, trio.current_time())
                case LanesAnswered(lanes=lanes):
                    for lane in lanes:
                        worker.relay.hurry(lane)
                case Drain(within=within):
                    order.within = within
                    order.given.set()
    except FrameError as error:
        worker.log(Trouble(where="control", what="the channel broke", detail=str(error)))
    order.given.set()


async def _report(channel: Channel, limits: ClientLimits, answered: LanesThatAnswered) -> Never:
    """Tell the supervisor that we live, and of clients and lanes when they changed."""
    told: dict[str, int] = {}
    beat = trio.current_time()
    while True:
        await trio.sleep(REPORT_INTERVAL)
        counts, arrivals = limits.report(), limits.arrivals()
        if arrivals or counts != told:
            told = counts
            await _say(channel, ClientCounts(counts=counts, arrivals=arrivals))
        if lanes := answered.take():
            await _say(channel, LanesAnswered(lanes=lanes))
        if trio.current_time() >= beat:
            beat += HEARTBEAT_INTERVAL
            await _say(channel, Heartbeat())


async def _main(fd: int) -> int:
    clock = time.time  # noqa: TID251 - the one real clock of a worker
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=fd)))
    channel = Channel(stream)
    first = await channel.receive()
    if not isinstance(first, Configure):
        return 0  # the supervisor ended before it could say anything
    assignment = Assignment.from_octets(first.settings)
    with LogWriter(sys.stderr, clock=clock, worker=assignment.worker) as log:
        try:
            return await work(assignment, channel, log, clock)
        except SpoolTooNew as error:
            log(Trouble(where="spool", what=str(error)))
            return REFUSED_TO_START
        except SpoolError as error:
            # A full disk, or a worker that drains although its supervisor was killed: both
            # pass, so the supervisor may try again.
            log(Trouble(where="spool", what="cannot be opened", detail=str(error)))
            return TRY_AGAIN


def main() -> int:
    """Run a worker. Its only argument is the descriptor of its channel."""
    # The terminal's Ctrl-C and the service manager's SIGTERM are the supervisor's to hear;
    # it tells us. A worker that got one by itself would leave before its turn.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    # What is loaded by now stays: the collector need not look at it again and again. Sessions
    # leave few cycles, so it may look seldom; that is 17 us of CPU a message, measured.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    return trio.run(_main, int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
