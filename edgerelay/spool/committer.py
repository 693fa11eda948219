"""The one task that writes: whatever waits becomes one transaction and shares one sync.

Callers park until their batch is on the disk. Before a batch is taken there is a short
linger, so that more may join: none for a message that comes alone, none when the disk is
slower than the linger, a longer one when nobody waits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

import trio

from edgerelay.observe.events import Held, Observer, Trouble
from edgerelay.runtime import RunBlocking
from edgerelay.spool.api import (
    Finish,
    Hold,
    PendingDelivery,
    Reschedule,
    Split,
    SpoolClosed,
    SpoolError,
    SpoolFull,
    SpoolUnavailable,
    Status,
)
from edgerelay.spool.content import ContentStore
from edgerelay.spool.recovery import SetAside
from edgerelay.spool.resident import ResidentContents
from edgerelay.spool.shard import Shard
from edgerelay.spool.space import Space
from edgerelay.spool.work import Insertion, Pause, Step, Work
from edgerelay.spool.writer import BrokenDatabase, Writer

BATCH_WORKS: Final = 512
BATCH_OCTETS: Final = 16 * 1024 * 1024  #: of content, so that the log stays small
#: Seconds between disk errors below which the spool takes no new mail.
TWICE: Final = 60.0
#: Seconds between attempts to open a database that cannot be opened.
PATIENCE: Final = 1.0
UNRECORDED: Final = "its outcome could not be recorded"


@dataclass(frozen=True, slots=True)
class Linger:
    """Seconds to wait for company: long enough for sessions in step to meet in one batch.

    With two workers and 20 sessions, 4 KiB messages cost 710 to 840 us of CPU each with
    these, 890 to 1,000 with half of them, and no less with twice as much.
    """

    waited_for: float = 0.003  #: someone wants to know
    unwatched: float = 0.010  #: only outcomes that may come late


class Committer:
    """Runs until `stop`, and then until nothing waits."""

    def __init__(
        self,
        shard: Shard,
        contents: ContentStore,
        resident: ResidentContents,
        space: Space,
        run_blocking: RunBlocking,
        reading: trio.Lock,
        observer: Observer,
        linger: Linger,
    ) -> None:
        self.on_committed: Callable[[Sequence[PendingDelivery]], None] = lambda _: None
        self.on_caught_up: Callable[[], None] = lambda: None
        self.refuses_mail = False  #: two disk errors in a minute
        self.activity = trio.Event()  #: set by each batch; house-keeping renews it
        self.batch_ended = trio.lowlevel.ParkingLot()  #: whoever parks here hears of each
        self._shard = shard
        self._contents = contents
        self._resident = resident
        self._space = space
        self._run_blocking = run_blocking
        self._reading = reading
        self._observer = observer
        self._linger = linger
        self._waiting: list[Work] = []
        self._waited_for = 0  #: of those, works with a caller
        self._late: list[Work] = []  #: outcomes that could not be written yet
        self._caught_up = False  #: one of those is durable, and nobody has been told
        self._soon: Work | None = None  #: where unwatched steps gather; also in `_waiting`
        self._asleep: trio.Event | None = None
        self._lingering = False
        self._writing: Sequence[Work] = ()  #: the batch
        self._chores: list[tuple[Callable[[Writer], None], trio.Event]] = []
        self._stopping = False
        self._was_empty = False  # when it stopped
        self._last_duration = 0.0
        self._last_error = float("-inf")
        self._open_next = float("-inf")
        self._purge: set[int] = set()

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    @property
    def is_empty(self) -> bool:
        """No message is in the shard, nor one on the way."""
        writer = self._shard.writer
        return writer is not None and not writer.totals.messages and self.is_idle

    @property
    def has_late_works(self) -> bool:
        return bool(self._late)

    # -- callers ---------------------------------------------------------------------------

    async def do(self, work: Work) -> None:
        """Return when ``work`` is durable. Raises `SpoolError`: nothing of it is there.

        Cancelled either before it is taken up, or not at all.
        """
        if self._stopping:
            raise self.unavailable()
        work.task = trio.lowlevel.current_task()
        self._waiting.append(work)
        self._waited_for += 1
        self._wake(hurry=True)

        def abort(_: object) -> trio.lowlevel.Abort:
            if work not in self._waiting:
                return trio.lowlevel.Abort.FAILED
            self._waiting.remove(work)
            self._waited_for -= 1
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        error, work.error = work.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # it has this frame in its traceback: a cycle would hold the content

    def do_soon(self, work: Work) -> None:
        """Put it into the next transaction; nobody waits."""
        if self._stopping:
            self._observer(Trouble(where="spool", what=UNRECORDED, detail="the spool is closed"))
            return
        self._waiting.append(work)
        self._wake()

    def steps_soon(self, steps: Sequence[Step]) -> None:
        """The same for steps alone, gathered in one work: an outcome costs a list entry."""
        if self._soon is None:
            self._soon = Work([], [])
            self.do_soon(self._soon)
        self._soon.steps.extend(steps)

    async def chore(self, chore: Callable[[Writer], None]) -> None:
        """Have it done between transactions. That it failed is not said."""
        done = trio.Event()
        self._chores.append((chore, done))
        self._wake()
        await done.wait()

    def retry(self) -> None:
        """Try again what could not be written."""
        late, self._late = self._late, []
        for work in late:
            work.error = None
        self._waiting[:0] = late
        self._wake()

    def stop(self) -> None:
        """Take nothing more, write what waits, and let `run` end."""
        self._stopping = True
        self.retry()
        self._was_empty = self.is_empty
        self._wake(hurry=True)

    async def catch_up(self) -> None:
        """Return when what was given before has been written, or could not be."""
        is_due = bool(self._waiting or self._writing)
        while is_due:
            with suppress(SpoolError):  # whose it was is told
                await self.do(Work((), []))
            is_due = any(work.is_late for work in chain(self._waiting, self._writing))

    def unavailable(self) -> SpoolUnavailable:
        """Why nothing can be read or written."""
        if not self._stopping:
            return SpoolUnavailable("the database is not to be had")
        kind = SpoolClosed if self._was_empty else SpoolUnavailable
        return kind("the spool is closed")

    @property
    def is_shut(self) -> bool:
        """The database could not be opened again when it was tried last."""
        return self._shard.writer is None

    async def open_again(self) -> None:
        """Have another try at a database that could not be opened, should nobody write."""
        with suppress(SpoolError):
            await self.do(Work((), []))

    def unsettled_keys(self) -> set[int]:
        """Deliveries with an outcome that the disk would not take, and has not yet."""
        again = [work for work in chain(self._waiting, self._writing) if work.is_late]
        works = chain(self._late, again)
        return {step.key for work in works for step in work.steps if not isinstance(step, Pause)}

    def hold_unrecorded(self, steps: Sequence[Step], error: SpoolError) -> None:
        """What cannot be written must not be lost with its delivery."""
        self._observer(Trouble(where="spool", what=UNRECORDED, detail=str(error)))
        keys = {step.key for step in steps if isinstance(step, Finish | Reschedule | Split)}
        if keys:
            self.do_soon(_late([Hold(key, UNRECORDED) for key in keys]))

    def _wake(self, *, hurry: bool = False) -> None:
        """End a sleep; a linger for company only if somebody waits."""
        if self._asleep is not None and (hurry or not self._lingering):
            self._asleep.set()

    # -- the task --------------------------------------------------------------------------

    async def run(self) -> None:
        # A batch is never abandoned: its callers wait, and are told what became of it.
        with trio.CancelScope(shield=True):
            while True:
                while self._chores:
                    await self._do_chore(*self._chores.pop(0))
                if self._waiting:
                    await self._wait_for_company()
                    await self._commit(self._take())
                elif self._stopping:
                    return
                else:
                    await self._sleep(float("inf"))

    async def _sleep(self, seconds: float) -> None:
        self._asleep = trio.Event()
        with trio.move_on_after(seconds):
            await self._asleep.wait()
        self._asleep = None

    async def _wait_for_company(self) -> None:
        if self._stopping:
            return
        if not self._waited_for and self._linger.unwatched:
            self._lingering = True
            await self._sleep(self._linger.unwatched)
            self._lingering = False
        alone = self._waited_for == 1 and self._contents.in_flight <= 1
        linger = self._linger.waited_for
        if self._waited_for and not alone and self._last_duration < linger:
            await trio.sleep(linger)

    def _take(self) -> list[Work]:
        batch: list[Work] = []
        octets = 0
        ballast = self._shard.disk.ballast
        limit = min(BATCH_OCTETS, ballast // 8) if ballast else BATCH_OCTETS  # see `log_pages`
        for work in self._waiting:
            octets += work.octets
            if batch and (octets > limit or len(batch) == BATCH_WORKS):
                break
            batch.append(work)
            if work is self._soon:
                self._soon = None
        del self._waiting[: len(batch)]
        self._waited_for = sum(work.task is not None for work in self._waiting)
        return batch

    async def _commit(self, batch: list[Work]) -> None:
        self._writing = batch
        writer = self._shard.writer or await self._open_again()
        if writer is None:
            _fail(batch, "the database is not to be had")
        else:
            try:
                started = trio.current_time()
                await self._run_blocking(partial(writer.write, batch))
                self._last_duration = trio.current_time() - started
                self._space.own(writer.free_octets)
            except BrokenDatabase as error:
                _fail(batch, str(error))
                batch = self._doubt(batch)
                self._note_disk_error(str(error))
                await self._open_again()
        self._writing = ()
        self._tell(batch)
        self.activity.set()
        self.batch_ended.unpark_all()

    async def _do_chore(self, chore: Callable[[Writer], None], done: trio.Event) -> None:
        writer = self._shard.writer
        if writer is not None:
            with suppress(sqlite3.Error, OSError):  # the next transaction will say it again
                await self._run_blocking(partial(chore, writer))
                self._space.own(writer.free_octets)
        done.set()

    def _tell(self, batch: Sequence[Work]) -> None:
        queued: list[PendingDelivery] = []
        for work in batch:
            if work.error is None:
                self._caught_up |= work.is_late
                for insertion in work.insertions:
                    queued += self._keep(insertion)
            else:
                if isinstance(work.error, SpoolFull):
                    self._space.failed()
                if work.task is None:
                    self._put_off(work, work.error)
        try:
            if queued:
                self.on_committed(queued)
            if self._caught_up:
                self._caught_up = False
                self.on_caught_up()
        finally:
            for work in batch:
                if work.task is not None:
                    trio.lowlevel.reschedule(work.task)

    def _keep(self, insertion: Insertion) -> list[PendingDelivery]:
        """A message is durable: its content stays at hand for those who deliver it now."""
        insertion.content.let_go()
        self._space.spent(insertion.content.size)
        queued = insertion.deliveries
        if not insertion.is_simple:
            queued = [each for each in queued if each.status is Status.QUEUED]
        if insertion.data is not None and queued:
            self._resident.add(insertion.number, insertion.data, len(queued))
        return queued

    def _note_late(self, work: Work) -> None:
        work.is_late = True
        self._late.append(work)

    def _put_off(self, work: Work, error: SpoolError) -> None:
        """Outcomes that nobody waits for were not written: later, or held if never."""
        if not work.is_bad:
            self._note_late(work)
            return
        if len(work.steps) > 1 and not work.insertions:  # one of them is bad: which?
            self._waiting += [_late([step]) for step in work.steps]
            return
        for insertion in work.insertions:
            insertion.content.discard()
        self.hold_unrecorded(work.steps, error)

    # -- disk errors -----------------------------------------------------------------------

    def _note_disk_error(self, reason: str) -> None:
        now = trio.current_time()
        if not self._space.is_enough:
            # A full disk may fail in any way. No mail is taken anyhow, and will be when it is not.
            self._observer(Trouble(where="spool", what="a full disk failed", detail=reason))
            return
        if now - self._last_error < TWICE and not self.refuses_mail:
            self.refuses_mail = True
            self._observer(Trouble(where="spool", what="no new mail is taken", detail=reason))
        else:
            self._observer(Trouble(where="spool", what="disk error", detail=reason))
        self._last_error = now

    def _doubt(self, batch: Sequence[Work]) -> list[Work]:
        """The disk failed in the middle: recovery finds out which rows are there.

        Returns those who wait to be told; the others will be tried again.
        """
        for work in batch:
            if work.is_mail:  # its client will hear 451: none of it may be left
                for insertion in work.insertions:
                    self._purge.add(insertion.number)
            if work.task is not None:
                for insertion in work.insertions:
                    insertion.content.let_go()  # the sweep decides about its file
            elif not work.is_bad:
                self._note_late(work)
        return [work for work in batch if work.task is not None or work.is_bad]

    async def _open_again(self) -> Writer | None:
        """Recover, keeping what nobody was told of out of it. None if the disk refuses."""
        now = trio.current_time()
        if now < self._open_next:
            return None
        self._open_next = now + PATIENCE
        async with self._reading:  # nobody may read a connection that is being closed
            reopen = partial(self._shard.reopen, self._contents.live, self._purge)
            try:
                set_aside = await self._run_blocking(reopen)
            except SpoolUnavailable as error:
                self._observer(Trouble(where="spool", what="cannot open", detail=str(error)))
                return None
        self._purge = set()
        self._open_next = float("-inf")
        self.report(set_aside)
        return await self._run_blocking(self._forget_what_survived)

    def _forget_what_survived(self) -> Writer | None:
        """A late work whose report is there was committed after all, outcomes and all."""
        writer = self._shard.writer
        assert writer is not None, "just opened"  # noqa: S101  narrows the type
        for work in list(self._late):
            if work.insertions and writer.has(work.insertions[0].number):
                self._late.remove(work)
                self._caught_up = True
                for insertion in work.insertions:
                    insertion.content.let_go()
        return writer

    def report(self, set_aside: Sequence[SetAside]) -> None:
        for each in set_aside:
            queue_id = self._shard.ids.text(each.number)
            self._observer(Held(queue_id=queue_id, lane=each.lane, reason=each.reason))


def _late(steps: list[Step]) -> Work:
    """What takes the place of a work that was refused."""
    work = Work((), steps)
    work.is_late = True
    return work


def _fail(batch: Sequence[Work], reason: str) -> None:
    for work in batch:
        work.error = SpoolUnavailable(reason)
