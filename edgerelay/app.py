"""One worker process: receives, commits and delivers; a nursery inside a nursery each.

    its own shard                  the truth outlives the rest
    └ services                     reaper, DNS, tables, the supervisor's channel
      └ policies                   opened in the order of the configuration, closed in reverse
        └ shards                   relay-out, of adopted ones too; cancelled once nobody is left
          │                        who could hand it mail
          └ sessions               get a deadline once we are to stop
            └ accepting            ends when we are to leave, or the supervisor is gone

Leaving the blocks in order is the shutdown. The worker learns everything it needs from the
first message on its channel; it reads no configuration and binds nothing.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, Never

import trio

from edgerelay.assembly import Station, assemble
from edgerelay.census import known
from edgerelay.control.assignment import REFUSED_TO_START, Assignment
from edgerelay.control.channel import Channel
from edgerelay.control.frames import FrameError
from edgerelay.control.merge import merge
from edgerelay.control.messages import (
    Adopt,
    Answer,
    Ask,
    Certificate,
    ClientCounts,
    Configure,
    Drain,
    Failure,
    Heartbeat,
    LanesAnswered,
    Message,
    OthersCounts,
    Owns,
    Refuses,
    Response,
    StatusRequest,
    WorkerReady,
    WorkerRequest,
)
from edgerelay.control.queue import answer_queue
from edgerelay.control.status import worker_status
from edgerelay.edge.door import connections_within
from edgerelay.edge.settings import EdgeSettings, ListenerSettings, ListenerTls
from edgerelay.ground import real_ground
from edgerelay.net.endpoint import endpoint_text
from edgerelay.net.tls import ServerTls, server_context
from edgerelay.observe.counters import Counters
from edgerelay.observe.escape import escape
from edgerelay.observe.events import Event, LaneUp, Observer, Trouble
from edgerelay.observe.log import LogWriter
from edgerelay.observe.pace import TOLD_EVERY, Pace
from edgerelay.observe.tee import tee
from edgerelay.pipeline.policies import NotOpened
from edgerelay.runtime import Clock, in_thread
from edgerelay.shards import OpenShard
from edgerelay.spool import SpoolLocked, SpoolTooNew, SqliteSpool, open_spool
from edgerelay.spool.api import SpoolError, SpoolFull
from edgerelay.spool.names import new_names

#: Seconds between two reports of who is connected here.
REPORT_INTERVAL: Final = 0.1
#: Seconds between signs of life; the supervisor ends a worker after 30 s without one.
HEARTBEAT_INTERVAL: Final = 1.0
#: Exit status that tells the supervisor that another try may succeed soon.
TRY_AGAIN: Final = 1
#: Seconds beyond `drain` in which a worker without a supervisor must have ended. Nobody else
#: would end one that hangs, and its shards would be nobody's for ever.
ALONE: Final = 60


@dataclass(slots=True)
class Orders:
    """When a worker is to go: said by the supervisor, or by its end."""

    leave: trio.Event = field(default_factory=trio.Event)  #: accept nothing more
    stop: trio.Event = field(default_factory=trio.Event)  #: and hurry who is still there
    within: float = 0.0  #: seconds that sessions get then
    is_replaced: bool = False  #: somebody else serves already

    def drain(self, within: float | None) -> None:
        self.leave.set()
        if within is None:
            self.is_replaced = True
        else:
            self.within = within
            self.stop.set()


@dataclass(frozen=True, slots=True)
class Worker:
    """The parts of a running worker, as its channel's questions need them."""

    assignment: Assignment
    station: Station
    orders: Orders
    certificates: dict[bool, ServerTls]  #: by whether they ask for the client's
    counters: Counters
    log: LogWriter
    clock: Clock

    async def answer(self, request: WorkerRequest) -> Response:
        """Answer an operator. What fails is a `Failure` and an event, never the worker."""
        owned = self.station.shards.owned
        try:
            if isinstance(request, StatusRequest):
                return await worker_status(
                    worker=self.assignment.worker,
                    pid=os.getpid(),
                    state="draining" if self.orders.leave.is_set() else "running",
                    counters=self.counters,
                    policies=self.station.policies.counts.by_policy(),
                    gauges=self.station.gauges(),
                    shards={shard.name: shard.spool for shard in owned},
                    lanes=[lane for shard in owned for lane in shard.relay.lanes_now()],
                    dropped_events=self.log.dropped,
                )
            answers = [
                await answer_queue(request, shard.spool, shard.relay, self.clock)
                for shard in owned
            ]
            return merge(request, answers)
        except Exception as error:
            self.log(Trouble(where="control", what="a question failed", detail=repr(error)))
            return Failure(text=f"worker {self.assignment.worker} could not answer; see its log")

    def renew(self, certificate: Certificate) -> None:
        """Shake hands with this one from now on; if it is no good, with the old one."""
        try:
            files, certificates = certificate.files, self.certificates
            contexts = {asks: server_context(files, ask_clients=asks) for asks in certificates}
        except (OSError, ValueError) as error:  # ssl's own are OSErrors, too
            self.log(Trouble(where="tls", what="the old certificate stays", detail=str(error)))
            return
        for asks, context in contexts.items():
            certificates[asks].context = context


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


async def work(assignment: Assignment, channel: Channel, log: LogWriter, clock: Clock) -> int:
    """Run one worker until it is drained or its supervisor is gone. Returns its exit status.

    Raises `SpoolError` before anything has started.
    """
    counters, answered, orders = Counters(), LanesThatAnswered(), Orders()
    pace = Pace(log, clock)
    observer = tee(counters, answered, pace)

    def open_shard(name: str) -> open_spool:
        return open_spool(
            assignment.spool / name,
            run_blocking=in_thread,
            clock=clock,
            observer=observer,
            min_free_space=assignment.min_free_space,
        )

    async with AsyncExitStack() as stack:
        stack.callback(pace.tell)
        name, spool = await _own_shard(assignment, open_shard, observer, stack)
        services = known(await stack.enter_async_context(trio.open_nursery()), "services")
        stack.callback(services.cancel_scope.cancel)
        ground = await real_ground(assignment, open_shard, observer, clock, services, stack)
        assembling = assemble(
            _with_headroom(assignment.edge, observer),
            assignment.relay,
            assignment.policies,
            name,
            spool,
            ground,
        )
        try:
            station = await stack.enter_async_context(assembling)
        except NotOpened as error:
            where = f"policy {error.policy}"
            observer(Trouble(where=where, what="cannot be opened", detail=error.reason))
            await _say(channel, Refuses(text=f"{where}: {error.reason}"))
            return REFUSED_TO_START
        certificates = _certificates(assignment)
        worker = Worker(assignment, station, orders, certificates, counters, log, clock)

        services.start_soon(_listen, channel, worker, services)
        services.start_soon(_report, channel, station, answered)
        services.start_soon(_tell_of_shed, pace)
        async with trio.open_nursery() as delivering:
            known(delivering, "deliveries").start_soon(station.shards.run)
            await _receive(worker, channel)
            delivering.cancel_scope.cancel()
        spool.is_kept = not orders.is_replaced
    return 0


async def _own_shard(
    assignment: Assignment, open_shard: OpenShard, observer: Observer, stack: AsyncExitStack
) -> tuple[str, SqliteSpool]:
    """Own the shard that was meant for us, or a new one if it cannot be had now.

    A worker whose supervisor was killed may still be draining it, or its disk may have broken
    it: the one will be adopted later, of the other somebody is told, and mail is taken at once.
    """
    meant = assignment.shard
    for name in chain([meant], new_names(assignment.spool, {meant})):
        try:
            return name, await stack.enter_async_context(open_shard(name))
        except SpoolLocked:
            continue
        except (SpoolFull, SpoolTooNew):
            raise
        except SpoolError as error:
            if name != meant:
                raise
            what = "cannot be opened: mail is taken into a new one"
            observer(Trouble(where=f"shard {name}", what=what, detail=str(error)))
    raise AssertionError("unreachable: there are always new names")


def _with_headroom(edge: EdgeSettings, observer: Observer) -> EdgeSettings:
    """No more connections than leave descriptors for deliveries, the spool and look-ups."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return edge
    connections = connections_within(edge.connections, descriptors)
    if connections < edge.connections:
        what = f"takes {connections} connections, not limits.connections = {edge.connections}"
        detail = f"the kernel gives this process {descriptors} file descriptors (LimitNOFILE)"
        observer(Trouble(where="edge", what=what, detail=detail))
    return replace(edge, connections=connections)


async def _tell_of_shed(pace: Pace) -> Never:
    while True:
        await trio.sleep(TOLD_EVERY)
        pace.tell()


async def _receive(worker: Worker, channel: Channel) -> None:
    """Accept until we are to leave, then serve who is there for as long as they may stay."""
    orders, station = worker.orders, worker.station
    async with trio.open_nursery() as stopping:
        known(stopping, "services")
        async with trio.open_nursery() as sessions:
            known(sessions, "sessions")
            # Closed as soon as nobody accepts here: a new supervisor may want the address.
            with ExitStack() as listeners:
                async with trio.open_nursery() as accepting:
                    known(accepting, "services")
                    for listening, listener in _listeners(worker):
                        listeners.enter_context(listening)
                        accepting.start_soon(station.edge.accept, listening, listener, sessions)
                    await _say(channel, Owns(shards=station.shards.names))
                    await _say(channel, WorkerReady())
                    await orders.leave.wait()
                    accepting.cancel_scope.cancel()
            stopping.start_soon(_stop, worker, sessions)
        stopping.cancel_scope.cancel()


async def _stop(worker: Worker, sessions: trio.Nursery) -> None:
    await worker.orders.stop.wait()
    worker.station.edge.stop()
    sessions.cancel_scope.deadline = trio.current_time() + worker.orders.within


def _listeners(worker: Worker) -> list[tuple[socket.socket, ListenerSettings]]:
    """The inherited sockets, each with its settings, its real address and its certificate."""
    assignment, pairs = worker.assignment, []
    for fd, settings in zip(assignment.listener_fds, assignment.listeners, strict=True):
        listening = socket.socket(fileno=fd)
        listening.setblocking(False)
        asks, is_off = settings.asks_for_certificate, settings.tls is ListenerTls.OFF
        tls = None if is_off else worker.certificates.get(asks)
        name = endpoint_text(listening.family, listening.getsockname())
        pairs.append((listening, replace(settings, name=name, certificate=tls)))
    return pairs


def _certificates(assignment: Assignment) -> dict[bool, ServerTls]:
    """For the listeners that there are; a reload in place changes none of those."""
    files = assignment.tls_files
    if files is None:
        return {}
    asked = {listener.asks_for_certificate for listener in assignment.listeners}
    return {asks: ServerTls(server_context(files, ask_clients=asks)) for asks in asked}


async def _say(channel: Channel, message: Message) -> None:
    """Say it if the supervisor is there; if it is not, `_listen` learns of it."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await channel.send(message)


async def _listen(channel: Channel, worker: Worker, services: trio.Nursery) -> None:
    """Do what the supervisor says; its end is an order to drain."""

    async def answer(ask: Ask) -> None:
        await _say(channel, Answer(id=ask.id, response=await worker.answer(ask.request)))

    try:
        while (message := await channel.receive()) is not None:
            if isinstance(message, Ask):
                services.start_soon(answer, message)
            else:
                _obey(message, worker)
    except FrameError as error:
        worker.log(Trouble(where="control", what="the channel broke", detail=str(error)))
    drain = worker.assignment.drain
    signal.alarm(int(drain) + ALONE)  # unless we have ended by then, the kernel ends us
    worker.orders.drain(drain)


def _obey(message: Message, worker: Worker) -> None:
    station = worker.station
    match message:
        case OthersCounts(counts=counts, arrivals=arrivals):
            station.limits.elsewhere(counts, arrivals, trio.current_time())
        case LanesAnswered(lanes=lanes):
            for lane in lanes:
                station.shards.hurry(lane)
        case Adopt(shard=shard):
            station.shards.adopt(shard)
        case Certificate():
            worker.renew(message)
        case Drain(within=within):
            worker.orders.drain(within)


async def _report(channel: Channel, station: Station, answered: LanesThatAnswered) -> Never:
    """Tell the supervisor that we live, and of clients, lanes and shards when they changed."""
    limits, shards = station.limits, station.shards
    told: dict[str, int] = {}
    owned = shards.names
    beat = trio.current_time()
    while True:
        await trio.sleep(REPORT_INTERVAL)
        counts, arrivals = limits.report(), limits.arrivals()
        if arrivals or counts != told:
            told = counts
            await _say(channel, ClientCounts(counts=counts, arrivals=arrivals))
        if lanes := answered.take():
            await _say(channel, LanesAnswered(lanes=lanes))
        if shards.names != owned:
            owned = shards.names
            await _say(channel, Owns(shards=owned))
        if trio.current_time() >= beat:
            beat += HEARTBEAT_INTERVAL
            await _say(channel, Heartbeat())


def tells_unraisable(observer: Observer) -> Callable[[sys.UnraisableHookArgs], None]:
    """What Python has nobody to raise it to is an event, and no traceback among the log's lines.

    Clients can cause one kind: a server name in a handshake (RFC 6066 section 3) that `ssl` cannot
    decode. Their session's event says that the handshake failed.
    """

    def tell(told: sys.UnraisableHookArgs) -> None:
        if isinstance(told.exc_value, UnicodeDecodeError) and isinstance(told.object, bytes):
            return
        what = "an error that nobody could be told of"
        detail = escape(f"{told.exc_value!r} in {told.object!r}", 200)
        observer(Trouble(where="worker", what=what, detail=detail))

    return tell


async def _main(fd: int) -> int:
    clock = time.time  # noqa: TID251 - the one real clock of a worker
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=fd)))
    channel = Channel(stream)
    first = await channel.receive()
    if not isinstance(first, Configure):
        return 0  # the supervisor ended before it could say anything
    assignment = Assignment.from_octets(first.settings)
    with LogWriter(sys.stderr, clock=clock, worker=assignment.worker) as log:
        sys.unraisablehook = tells_unraisable(log)
        try:
            return await work(assignment, channel, log, clock)
        except SpoolTooNew as error:
            log(Trouble(where="spool", what=str(error)))
            await _say(channel, Refuses(text=str(error)))
            return REFUSED_TO_START
        except SpoolError as error:
            # A full disk passes, so the supervisor may try again.
            log(Trouble(where="spool", what="cannot be opened", detail=str(error)))
            return TRY_AGAIN


def main() -> int:
    """Run a worker. Its only argument is the descriptor of its channel."""
    # The terminal's Ctrl-C and the service manager's SIGTERM are the supervisor's to hear;
    # it tells us. A worker that got one by itself would leave before its turn.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    # What is loaded by now stays: the collector need not look at it again and again. Sessions
    # leave few cycles, so it may look seldom; that is 17 us of CPU a message, measured. Those that
    # end abnormally do: with (10_000, 20, 20) a worker grew by 1 KiB for each of them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 2)
    return trio.run(_main, int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
