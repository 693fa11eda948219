"""One life of one simulated worker: the real parts on simulated ground, and a sudden end.

When it dies its disks are off, its connections are reset, and nothing that its tasks still do
has an effect. They are then unwound by force: shields are lifted, and who waits for a task that
is gone is woken, because a dead process waits for nobody.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeVar

import outcome
import trio
from trio.lowlevel import Task

from edgerelay.assembly import Ground, Station, assemble
from edgerelay.dns.caching import CachingResolver
from edgerelay.net.reaper import Reaper
from edgerelay.observe.events import Event
from edgerelay.spool import SpoolLocked, SqliteSpool, open_spool
from edgerelay.spool.api import SpoolError
from edgerelay.spool.committer import Linger
from edgerelay.testing.lending import Lending
from edgerelay.testing.memory_transport import MemoryTransport, memory_transport_pair
from edgerelay.testing.simulation.disk import Platter, SimulatedDisk

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgerelay.testing.simulation.world import World

T = TypeVar("T")

#: Virtual seconds that a clean end may take, final dots and their last word included.
DRAIN: Final = 30.0
#: Virtual seconds after its death in which the tasks of a process must be gone.
UNWOUND_WITHIN: Final = 60.0


class Died(Exception):
    """Raised in tasks that wait for another one, which died with the process."""


class Process:
    """``number`` tells lives apart. `run` is its main task, `die` its end at any moment."""

    def __init__(self, world: World, number: int) -> None:
        self.number = number
        self.is_alive = True
        self.faults = world.faults
        self.station: Station | None = None  # while it serves
        self.sessions: trio.Nursery | None = None
        self.ready = trio.Event()
        self.ended = trio.Event()
        self.operations_left: int | None = None  # until it dies in one
        self.left_behind: dict[str, int] = {}
        self.disks: list[SimulatedDisk] = []
        self._world = world
        self._leave = trio.Event()
        self._transports: list[MemoryTransport] = []
        self._scope = trio.CancelScope()
        self._task: Task | None = None
        self._ports = itertools.count(20_000)

    # -- what it stands on -----------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        return self._world.is_disk_full

    def comes_to_an_end_here(self) -> bool:
        if self.operations_left is None or not self.is_alive:
            return False
        self.operations_left -= 1
        if self.operations_left > 0:
            return False
        self.faults.happened("crash in a disk operation")
        self.die()
        return True

    async def run_blocking(self, function: Callable[[], T], /) -> T:
        """What a thread would do, which takes its time before and after it has an effect."""
        await trio.lowlevel.checkpoint()
        if self.faults.strike("slow disk", 0.05):
            await trio.sleep(self.faults.seconds(3.0))
        done = function()
        if self.faults.strike("slow disk", 0.03):
            await trio.sleep(self.faults.seconds(3.0))
        return done

    def note(self, text: str) -> None:
        self._world.note(f"{self.number} {text}")

    def observe(self, event: Event, /) -> None:
        if self.is_alive:
            self._world.observe(self, event)

    def open_shard(self, name: str) -> open_spool:
        return self._spool(self._world.platter(name))

    def _spool(self, platter: Platter) -> open_spool:
        disk = SimulatedDisk(platter, self)
        self.disks.append(disk)
        return open_spool(
            None,
            run_blocking=self.run_blocking,
            clock=self._world.clock,
            observer=self.observe,
            ballast=0,
            linger=Linger(0.0, 0.0),
            connect=disk.connect,
            disk=disk,
            tag=self._world.next_tag(),
            lasts=True,
        )

    def pair(self, *, client: str = "192.0.2.1:4711") -> tuple[MemoryTransport, MemoryTransport]:
        """A connection: the world's end and ours, which breaks with us."""
        theirs, ours = memory_transport_pair(client=client)
        ours.watch(self._reaper)
        self._transports.append(ours)
        return theirs, ours

    def connect(self, client: str) -> MemoryTransport | None:
        """The client's end of a new session, or None: connection refused."""
        if not self.serves or self.station is None or self.sessions is None:
            return None
        theirs, ours = self.pair(client=f"{client}:{next(self._ports)}")
        listener = self._world.config.listeners[0]
        self.sessions.start_soon(self.station.edge.run_session, ours, listener)
        return theirs

    # -- its life --------------------------------------------------------------------------

    async def run(self) -> None:
        """Returns when all of it is over; whatever escapes a living process is a mistake."""
        self._task = trio.lowlevel.current_task()
        try:
            with self._scope:
                await self._work()
        except SpoolError:
            self.faults.happened("a worker could not start")
        except BaseException as error:
            if self.is_alive or isinstance(error, KeyboardInterrupt):
                raise
        finally:
            self.station = self.sessions = None
            self._world.has_ended(self)
            self.is_alive = False
            self.ended.set()

    async def _work(self) -> None:
        world = self._world
        async with AsyncExitStack() as stack:
            name, spool = await self._own_shard(stack)
            self.services = services = await stack.enter_async_context(trio.open_nursery())
            stack.callback(services.cancel_scope.cancel)
            self._reaper = Reaper()
            services.start_soon(self._reaper.run)
            resolver = CachingResolver(
                world.dns, services, timeout=world.config.dns_timeout, observer=self.observe
            )
            ground = Ground(
                clock=world.clock,
                observer=self.observe,
                run_blocking=self.run_blocking,
                reaper=self._reaper,
                dialer=world.dialer_of(self),
                resolver=resolver,
                tables=world.tables,
                lend=Lending(
                    world.config.hostname,
                    resolver,
                    world.tables,
                    world.clock,
                    self.observe,
                    services,
                    {},
                ),
                open_shard=self.open_shard,
                shuffle=world.faults.random.shuffle,
                contexts=world.contexts,
            )
            config = world.config
            station = await stack.enter_async_context(
                assemble(config.edge(), config.relay(), config.policies, name, spool, ground)
            )
            async with trio.open_nursery() as delivering:
                delivering.start_soon(station.shards.run)
                async with trio.open_nursery() as self.sessions:
                    self.station = station
                    self.ready.set()
                    await self._leave.wait()
                    station.edge.stop()
                    self.sessions.cancel_scope.deadline = trio.current_time() + DRAIN
                delivering.cancel_scope.cancel()
        # Only now: an operator may have been changing something, and outcomes waited for the disk.
        self.left_behind = {n: c for n, c in station.gauges().items() if c}

    async def _own_shard(self, stack: AsyncExitStack) -> tuple[str, SqliteSpool]:
        for platter in self._world.platters_to_start_with():
            try:
                return platter.name, await stack.enter_async_context(self._spool(platter))
            except SpoolLocked:
                continue
        raise AssertionError("unreachable: there are always new ones")

    @property
    def serves(self) -> bool:
        """It is ready, and neither leaves nor is dead."""
        return self.station is not None and self.is_alive and not self._leave.is_set()

    def leave(self) -> None:
        """A clean end."""
        self._leave.set()

    # -- its death -------------------------------------------------------------------------

    def die(self) -> None:
        """Now, whatever it is at."""
        if not self.is_alive:
            return
        self.is_alive = False
        loses_power = self.faults.random.random() < 0.5
        for disk in self.disks:
            disk.power_off(loses_power)
        self._world.has_died(self)
        for transport in self._transports:
            transport.abort()
        self._scope.cancel()
        self._world.bury(self)

    async def unwind(self) -> None:
        """See that its tasks go. Raises AssertionError if one does not."""
        give_up = trio.current_time() + UNWOUND_WITHIN
        while not self.ended.is_set():
            for task in self._tasks():
                _lift_shields(task, self._scope)
                if _waits_for_the_dead(task):
                    trio.lowlevel.reschedule(task, outcome.Error(Died()))
            with trio.move_on_after(0.5):
                await self.ended.wait()
            if trio.current_time() > give_up:
                raise AssertionError(f"process {self.number} is dead, and something in it waits")

    def _tasks(self) -> list[Task]:
        return [] if self._task is None else [self._task, *_below(self._task)]


def _below(task: Task) -> Iterator[Task]:
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield child
            yield from _below(child)


def _lift_shields(task: Task, until: trio.CancelScope) -> None:
    status: Any = task._cancel_status
    while status is not None and status._scope is not until:
        status._scope.shield = False
        status = status._parent


def _waits_for_the_dead(task: Task) -> bool:
    """It refused to be cancelled, since somebody will wake it; and nobody will.

    A task that waits for the children of its nursery refuses, too, and they will.
    """
    is_blocked = task._next_send_fn is None and task is not trio.lowlevel.current_task()
    waits_for_children = any(n._parent_waiting_in_aexit for n in task.child_nurseries)
    return is_blocked and task._abort_func is None and not waits_for_children
