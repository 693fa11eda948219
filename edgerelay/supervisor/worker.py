"""One worker as its parent sees it: a process, a channel, and what it said last.

Started again when it dies, until it is told to leave.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Final

import trio

from edgerelay.control.assignment import REFUSED_TO_START, Assignment
from edgerelay.control.channel import Channel
from edgerelay.control.frames import FrameError
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
    QueueAct,
    Refuses,
    Response,
    WorkerReady,
    WorkerRequest,
)
from edgerelay.observe.events import Observer, Trouble, WorkerEnded, WorkerStarted
from edgerelay.supervisor.backoff import Backoff

#: A worker that said nothing for so many seconds is ended. Only silence is proof: a busy
#: loop still beats once a second.
SILENCE: Final = 30.0
#: Seconds until a restart in which nobody else is asked to adopt its shard: it costs less.
SOON: Final = 1.0
#: Seconds a question of an operator may take in one worker: to look, and to change much.
LOOK_WITHIN: Final = 10.0
ACT_WITHIN: Final = 50.0


class Worker:
    """Keeps one worker process running until `drain`; `keep` is its task."""

    def __init__(
        self,
        assignment: Assignment,
        observer: Observer,
        pass_on: Callable[[int, LanesAnswered], None],
        shard_for: Callable[[str], str],
        changed: Callable[[], None],
    ) -> None:
        """``pass_on`` gives what this worker (its number) said to all the others.

        ``shard_for`` names the shard to start with, given the one that it had before;
        ``changed`` hears when it owns others than before, or may adopt some.
        """
        self.number: Final = assignment.worker
        self.ready: Final = trio.Event()  # once, by the first process that got so far
        self.counts: dict[str, int] = {}  # connections per client here
        self.others: dict[str, int] = {}  # and elsewhere, as it was told
        self.arrivals: Counter[str] = Counter()  # of new connections, not yet told to others
        self.restarts = 0
        self.refusal = ""  #: why it cannot serve whatever is tried
        self.shards: tuple[str, ...] = ()
        self.promised = ""
        self._settled = trio.Event()
        self.is_leaving = False  #: it accepts nothing more
        self._assignment = assignment
        self._observer = observer
        self._pass_on = pass_on
        self._shard_for = shard_for
        self._changed = changed
        self._process: trio.Process | None = None
        self._channel: Channel | None = None
        self._heard = 0.0
        self._shard = ""  # its own, also when it has just died
        self._drain: Drain | None = None
        self._ids: Final = count(1)
        self._waiting: Final[dict[int, Callable[[Response], None]]] = {}

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def may_adopt(self) -> bool:
        return bool(self.shards) and not self.is_leaving

    async def keep(self) -> None:
        """Run the process, again and again, until it ends when it should or refuses to start."""
        backoff = Backoff()
        while True:
            started = trio.current_time()
            status = await self._run_once()
            expected = self.is_leaving
            if status == REFUSED_TO_START and not self.ready.is_set():
                self.refusal = self.refusal or "it refused to start; see the log"
            else:
                self.refusal = ""
            again = not expected and not self.refusal
            wait = backoff.after(trio.current_time() - started) if again else None
            self._observer(
                WorkerEnded(
                    worker=self.number,
                    pid=self.pid or 0,
                    status=status,
                    expected=expected,
                    restart_in=wait,
                )
            )
            self._process = None
            if wait is None or wait > SOON:
                self.promised = ""  # somebody else delivers it meanwhile
            self._changed()
            if wait is None:
                self._settled.set()
                return
            self.restarts += 1
            await trio.sleep(wait)
            if self.is_leaving:
                self.promised = ""
                self._changed()
                return

    async def _run_once(self) -> int:
        self.promised = ""
        self.promised = self._shard_for(self._shard)
        ours, theirs = socket.socketpair()
        with theirs:
            fds = (theirs.fileno(), *self._assignment.listener_fds)
            command = [sys.executable, "-m", "edgerelay.app", str(theirs.fileno())]
            try:
                self._process = process = await trio.lowlevel.open_process(
                    command, pass_fds=fds, stdin=subprocess.DEVNULL
                )
            except OSError as error:  # no memory for a process now: the others go on
                ours.close()
                self._trouble("cannot be started", str(error))
                return os.EX_OSERR
        ours.setblocking(False)
        channel = Channel(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        self._observer(WorkerStarted(worker=self.number, pid=process.pid))
        self._channel, self._heard = channel, trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, channel)
                nursery.start_soon(self._watch, process)
                assignment = replace(self._assignment, shard=self.promised)
                await self._tell(Configure(settings=assignment.to_octets()))
                if self._drain is not None:
                    await self._tell(self._drain)
                status = await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            # No worker outlives the block that started it.
            process.kill()
            self._channel, self.counts, self.others, self.shards = None, {}, {}, ()
            self._fail_questions()
            with trio.move_on_after(1, shield=True):
                await channel.aclose()
        return status

    async def _listen(self, channel: Channel) -> None:
        """Hear it until it falls silent. Nonsense is no reason for the other workers to end."""
        try:
            await self._hear(channel)
        except FrameError as error:
            self._trouble("the channel broke", str(error))
            await channel.aclose()  # to the worker that is an order to drain

    async def _hear(self, channel: Channel) -> None:
        while (message := await channel.receive()) is not None:
            self._heard = trio.current_time()
            match message:
                case Owns(shards=shards):
                    self.shards = shards
                    self._shard = self.promised = shards[0]
                    self._changed()
                case WorkerReady():
                    self.ready.set()
                    self._settled.set()
                case Refuses(text=text):
                    self.refusal = text
                case ClientCounts(counts=counts, arrivals=arrivals):
                    self.counts = counts
                    self.arrivals.update(arrivals)
                case LanesAnswered():
                    self._pass_on(self.number, message)
                case Answer(id=id_, response=response):
                    if answered := self._waiting.pop(id_, None):
                        answered(response)
                case Heartbeat():
                    pass

    async def _watch(self, process: trio.Process) -> None:
        while True:
            await trio.sleep(1)
            if trio.current_time() - self._heard > SILENCE:
                self._trouble(f"said nothing for {SILENCE:g} s and is ended")
                process.send_signal(signal.SIGKILL)
                return

    def _trouble(self, what: str, detail: str = "") -> None:
        self._observer(Trouble(where=f"worker {self.number}", what=what, detail=detail))

    async def _tell(self, message: Message) -> None:
        """Say it if somebody is there; a worker that is going away hears nothing."""
        if self._channel is not None:
            try:
                await self._channel.send(message)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def tell_others_counts(self, counts: dict[str, int], arrivals: dict[str, int]) -> None:
        self.others = counts
        await self._tell(OthersCounts(counts=counts, arrivals=arrivals))

    async def tell_lanes_answered(self, message: LanesAnswered) -> None:
        await self._tell(message)

    async def ready_or_refused(self) -> None:
        """Return when it is one or the other, or has left."""
        await self._settled.wait()

    async def adopt(self, shard: str) -> None:
        await self._tell(Adopt(shard=shard))

    async def renew(self, certificate: Certificate) -> None:
        """Give it, and whatever process comes after it, another certificate."""
        self._assignment = replace(self._assignment, tls_files=certificate.files)
        await self._tell(certificate)

    async def drain(self, within: float | None) -> None:
        """Ask it to end: sessions get ``within`` seconds, or None: as long as they last."""
        self.is_leaving = True
        if within is not None or self._drain is None:
            self._drain = Drain(within=within)
        await self._tell(self._drain)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    async def ask(self, request: WorkerRequest) -> Response:
        """Return the worker's answer, or a `Failure` if there is none in time."""
        id_, answered = next(self._ids), trio.Event()
        within = ACT_WITHIN if isinstance(request, QueueAct) else LOOK_WITHIN
        box: list[Response] = []

        def take(response: Response) -> None:
            box.append(response)
            answered.set()

        self._waiting[id_] = take
        try:
            with trio.move_on_after(within):
                if self._channel is not None:
                    await self._tell(Ask(id=id_, request=request))
                    await answered.wait()
        finally:
            self._waiting.pop(id_, None)
        return box[0] if box else Failure(text=f"worker {self.number} did not answer")

    def _fail_questions(self) -> None:
        for answered in list(self._waiting.values()):
            answered(Failure(text=f"worker {self.number} ended"))
        self._waiting.clear()
