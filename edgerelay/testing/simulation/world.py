"""A run: two workers, their clients, hops and disks, an hour of trouble, and a quiet end."""

from __future__ import annotations

import functools
import hashlib
import ssl
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

import trio
from trio.abc import Instrument
from trio.lowlevel import Task
from trio.testing import MockClock

from edgerelay.census import known
from edgerelay.config import Config, parse
from edgerelay.dns.answer import Answer, Status
from edgerelay.observe.events import Event
from edgerelay.pipeline.loading import at_hand
from edgerelay.relay.tls import ClientContexts
from edgerelay.spool.api import Filter, SpoolError
from edgerelay.tables.memory import MemoryTables
from edgerelay.testing.literal_dns import LiteralResolver
from edgerelay.testing.memory_transport import MemoryTransport
from edgerelay.testing.simulation.clients import Mail, send, some_mail
from edgerelay.testing.simulation.disk import Platter
from edgerelay.testing.simulation.faults import Faults
from edgerelay.testing.simulation.hops import SimulatedHop, SimulatedNetwork
from edgerelay.testing.simulation.oracle import Oracle, Verdict
from edgerelay.testing.simulation.policies import POLICIES
from edgerelay.testing.simulation.process import Process
from edgerelay.testing.virtual_time import START

WORKERS: Final = 2
#: Virtual seconds of trouble, and of quiet afterwards: more than `expire`.
TROUBLE: Final = 1800.0
QUIET: Final = 8 * 3600.0

CONFIG: Final = """
hostname = "mx.example.com"
state_dir = "nowhere"
[limits]
min_free_space = "1MiB"
rate_per_client = "off"
decision_timeout = "20s"
[queue]
retry = ["1m", "5m", "15m"]
warn_after = "1h"
expire = "6h"
[[policy]]
use = "moody"
timeout = "5s"
[[policy]]
use = "judge"
[[route]]
domains = ["a.test"]
next_hop = ["smtp://10.0.0.1:25", "smtp://10.0.0.2:25"]
recipients = "callout"
[[route]]
domains = ["b.test"]
next_hop = ["lmtp://10.0.0.3:24"]
recipients = "any"
[[route]]
domains = ["c.test"]
next_hop = ["smtp://hop.c.test:25"]
recipients = "any"
[[route]]
domains = ["src.test"]
next_hop = ["smtp://10.0.0.9:25"]
recipients = "any"
"""


@functools.cache
def _config() -> Config:
    with at_hand(POLICIES):
        return parse(CONFIG.encode(), "simulation.toml")


@functools.cache
def _contexts() -> ClientContexts:
    """No hop offers STARTTLS: none of them is used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ClientContexts(context, context)


@dataclass
class Outcome:
    """What came of a run. ``digest`` is the same whenever the seed and the program are."""

    seed: int
    faults: Counter[str]
    mails: int
    attempts: int
    verdict: Verdict
    digest: str
    log: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.verdict.problems


class Restless(Instrument):
    """Ends a run in which nobody comes to rest: virtual time would stand still for ever."""

    STEPS: Final = 1_500_000  # a run takes some thousands

    def __init__(self, world: World) -> None:
        self._world = world
        self._steps = 0

    def before_task_step(self, task: Task) -> None:
        self._steps += 1
        if self._steps == self.STEPS:
            self._world.problems.append(f"nothing comes to rest, such as {task.name}")
            self._world.nursery.cancel_scope.cancel()


class Dns:
    """Knows one name; now and then it knows nothing, or says so late."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._resolver = LiteralResolver({("hop.c.test", "A"): ["10.0.0.4"]})

    async def resolve(self, name: str, rdtype: str) -> Answer:
        if self._faults.strike("DNS: slow", 0.1):
            await trio.sleep(self._faults.seconds(20.0))
        if self._faults.strike("DNS: SERVFAIL", 0.1):
            return Answer(Status.TEMPORARY)
        return await self._resolver.resolve(name, rdtype)


class World:
    """Everything that is not a worker, and a list of those."""

    def __init__(self, seed: int, *, keeps_log: bool) -> None:
        random = Random(seed)  # noqa: S311 - chance that can be had again is the point
        self.faults = Faults(random)
        self.random = random
        self.config = _config()
        self.contexts = _contexts()
        self.is_disk_full = False
        self.is_over = False
        self.dns = Dns(self.faults)
        self.tables = MemoryTables(self.clock)
        self.jump = 0.0  # of the wall clock
        hops = [SimulatedHop(name, self.faults, lmtp=name == "b") for name in "abcdr"]
        one, lmtp, named, two, reports = hops
        self.hops = {
            ("10.0.0.1", 25): one,
            ("10.0.0.2", 25): two,
            ("10.0.0.3", 24): lmtp,
            ("10.0.0.4", 25): named,
            ("10.0.0.9", 25): reports,
        }
        self.oracle = Oracle(hops)
        self.processes: list[Process] = []
        self.problems: list[str] = []
        self.log: list[str] | None = [] if keeps_log else None
        self._platters: dict[str, Platter] = {}
        self._tags = 0
        self._lives = 0
        self._digest = hashlib.sha256()

    def clock(self) -> float:
        return START + trio.current_time() + self.jump

    def next_tag(self) -> int:
        self._tags += 1
        return self._tags

    # -- what a process asks of it ---------------------------------------------------------

    def dialer_of(self, process: Process) -> SimulatedNetwork:
        return SimulatedNetwork(process, self.hops, self.nursery)

    def platter(self, name: str) -> Platter:
        return self._platters.setdefault(name, Platter(name))

    def platters_to_start_with(self) -> Iterator[Platter]:
        """As a supervisor would offer them that is mistaken at times about who owns what."""
        for platter in self.platters():
            if platter.owner is None or self.faults.strike("offered although owned", 0.3):
                yield platter
        while True:
            name = next(str(n) for n in range(1000) if str(n) not in self._platters)
            yield self.platter(name)

    def platters(self) -> list[Platter]:
        for name in [name for name, platter in self._platters.items() if platter.is_removed]:
            del self._platters[name]
        return list(self._platters.values())

    def observe(self, process: Process, event: Event) -> None:
        self.oracle.observe(event)
        self.note(f"{process.number} {event}")

    def note(self, text: str) -> None:
        line = f"{trio.current_time():.3f} {text}"
        self._digest.update(line.encode())
        if self.log is not None:
            self.log.append(line)

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def has_died(self, process: Process) -> None:
        self.note(f"{process.number} dies")
        self._forget(process)

    def has_ended(self, process: Process) -> None:
        if process.is_alive:
            self.note(f"{process.number} ends")
            self._forget(process)
            if process.left_behind:
                self.problems.append(f"a session's things outlived it: {process.left_behind}")

    def _forget(self, process: Process) -> None:
        mine = [disk.platter for disk in process.disks if not disk.platter.is_removed]
        self.oracle.worker_ended(mine)
        for platter in mine:
            if platter.owner is process:
                platter.owner = None

    def bury(self, process: Process) -> None:
        self.nursery.start_soon(process.unwind)

    # -- a client connects -----------------------------------------------------------------

    def connect(self, client: str) -> MemoryTransport | None:
        living = [process for process in self.processes if process.serves]
        return self.random.choice(living).connect(client) if living else None

    # -- its course ------------------------------------------------------------------------

    async def run(self, mails: Sequence[Mail]) -> None:
        async with trio.open_nursery() as self.nursery:
            known(self.nursery, "services")  # what is of the world is not of a worker
            for _ in range(WORKERS):
                self.nursery.start_soon(self._keep_a_worker)
            self.nursery.start_soon(self._supervise)
            async with trio.open_nursery() as trouble:
                known(trouble, "services")
                for mail in mails:
                    trouble.start_soon(self._send_some_time, mail)
                with trio.move_on_after(TROUBLE):
                    await self._make_trouble()
                self._calm_down()
            await trio.sleep(QUIET)
            self.is_over = True
            for process in self.processes:
                process.leave()
            for process in self.processes:
                await process.ended.wait()
            self.nursery.cancel_scope.cancel()

    async def _send_some_time(self, mail: Mail) -> None:
        await trio.sleep(self.random.random() * TROUBLE * 0.8)
        await send(mail, self, self.faults)

    async def _keep_a_worker(self) -> None:
        while not self.is_over:
            await self._live()
            await trio.sleep(self.faults.seconds(5.0))

    async def _live(self) -> None:
        self._lives += 1
        process = Process(self, self._lives)
        self.processes.append(process)
        if self.faults.strike("crash in a disk operation, some day", 0.3):
            process.operations_left = int(10 ** (self.random.random() * 3.0))
        try:
            await process.run()
        finally:
            self.processes.remove(process)

    async def _supervise(self) -> None:
        """Offer shards, those that are owned too: a mistaken heartbeat proves nothing."""
        while not self.is_over:
            serving = [process for process in self.processes if process.serves]
            stations = [process.station for process in serving if process.station]
            for platter in self.platters():
                is_owned = platter.owner is not None
                if stations and (
                    not is_owned or self.faults.strike("offered although owned", 0.1)
                ):
                    self.random.choice(stations).shards.adopt(platter.name)
            await trio.sleep(120.0 if self.faults.calm else 1 + self.faults.seconds(60.0))

    def _calm_down(self) -> None:
        self.faults.calm = True
        self.is_disk_full = False
        for hop in self.hops.values():
            hop.is_up = True
        for process in self.processes:
            process.operations_left = None

    async def _make_trouble(self) -> None:
        kinds = [
            self._kill,
            self._kill,
            self._replace,
            self._hop_goes,
            self._hop_goes,
            self._clock_jumps,
            self._disk_fills,
            self._operate,
            self._operate,
        ]
        while True:
            await trio.sleep(self.faults.seconds(600.0) / self.faults.weather)
            await self.random.choice(kinds)()

    async def _kill(self) -> None:
        if self.processes:
            self.faults.happened("kill -9")
            self.random.choice(self.processes).die()

    async def _replace(self) -> None:
        """A rolling restart: another one is ready before the first one leaves."""
        leaving = [process for process in self.processes if process.serves]
        if not leaving:
            return
        self.faults.happened("rolling restart")
        self.random.choice(leaving).leave()

    async def _hop_goes(self) -> None:
        self.faults.happened("hop down")
        hop = self.random.choice(list(self.hops.values()))
        hop.down()
        await trio.sleep(self.faults.seconds(1200.0))
        hop.is_up = True

    async def _clock_jumps(self) -> None:
        self.faults.happened("clock jump")
        self.jump += (self.random.random() - 0.5) * 10 ** (1 + 4 * self.random.random())

    async def _disk_fills(self) -> None:
        self.faults.happened("disk full for a while")
        self.is_disk_full = True
        await trio.sleep(self.faults.seconds(300.0))
        self.is_disk_full = False

    async def _operate(self) -> None:
        """An operator holds, releases or hurries something; the worker does it."""
        able = [process for process in self.processes if process.serves]
        if able:
            process = self.random.choice(able)
            process.services.start_soon(self._operate_in, process)

    async def _operate_in(self, process: Process) -> None:
        if process.station is None:
            return
        shard = self.random.choice(process.station.shards.owned)
        try:
            found = await shard.spool.find(Filter(), 5)
            what = self.random.choice(("hold", "release", "flush"))
            self.faults.happened(f"operator: {what}")
            if what == "hold":
                await shard.relay.hold(found, "the simulation wants it")
            elif what == "release":
                await shard.relay.release(found)
            else:
                await shard.relay.flush(found)
        except SpoolError:
            return


def simulate(seed: int, *, keeps_log: bool = False) -> Outcome:
    """Run the relay once. Nothing escapes: what went wrong is in the outcome's problems."""
    _be_deterministic(seed)
    world = World(seed, keeps_log=keeps_log)
    mails = [some_mail(number, world.random) for number in range(world.random.randint(6, 14))]
    try:
        with at_hand(POLICIES):
            clock = MockClock(autojump_threshold=0)
            trio.run(world.run, mails, clock=clock, instruments=[Restless(world)])
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        first = traceback.format_exception(_first(error), limit=-3)
        verdict = Verdict(["it fell over: " + "".join(first)])
    else:
        verdict = world.oracle.judge(mails, world.platters())
    verdict.problems += world.problems
    return Outcome(
        seed,
        world.faults.counts,
        len(mails),
        sum(len(mail.attempts) for mail in mails),
        verdict,
        world.digest,
        world.log or [],
    )


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _be_deterministic(seed: int) -> None:
    """Trio shuffles tasks that may run at the same moment, lest somebody relies on an order. Here
    it shuffles them as the seed says."""
    from trio._core import _run

    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    _run._r.seed(seed)
