"""The spool: one SQLite database per shard, contents over 256 KiB in files beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from edgerelay.observe.events import Held, Observer
from edgerelay.runtime import RunBlocking
from edgerelay.spool.api import (
    Change,
    Content,
    Filter,
    Finish,
    Hold,
    NewMessage,
    PendingDelivery,
    QueueId,
    Release,
    SpoolError,
    SpoolGauges,
    SpoolUnavailable,
    StoredMessage,
)
from edgerelay.spool.committer import Committer
from edgerelay.spool.content import PIECE, ContentStore, SpoolContent, spool_error
from edgerelay.spool.queue_ids import number_of_key
from edgerelay.spool.reader import Found, Reader, Unreadable
from edgerelay.spool.resident import ResidentContents
from edgerelay.spool.shard import Shard
from edgerelay.spool.space import Space
from edgerelay.spool.work import Insertion, Mark, Pause, Work

T = TypeVar("T")


class SqliteSpool:
    """Implements `edgerelay.spool.api.Spool`; made by `open_spool`."""

    def __init__(
        self,
        shard: Shard,
        committer: Committer,
        contents: ContentStore,
        resident: ResidentContents,
        space: Space,
        run_blocking: RunBlocking,
        reading: trio.Lock,
        observer: Observer,
    ) -> None:
        self._shard = shard
        self._committer = committer
        self._contents = contents
        self._resident = resident
        self._space = space
        self._run_blocking = run_blocking
        self._reading = reading
        self._observer = observer
        self.allocate_id: Callable[[], QueueId] = shard.ids.allocate
        #: False: if no message is left in the shard when it is closed, it is removed.
        self.is_kept = True

    @property
    def is_empty(self) -> bool:
        """No message is in it, nor one on the way."""
        return self._committer.is_empty

    @property
    def contents(self) -> tuple[int, int]:
        """Contents that are neither committed nor discarded, and how many of them are files."""
        return self._contents.in_flight, len(self._contents.live)

    async def wait_until_empty(self) -> None:
        """Return when there is nothing left to deliver, to report or to hold."""
        while not self.is_empty:
            await self._committer.batch_ended.park()

    @property
    def on_committed(self) -> Callable[[Sequence[PendingDelivery]], None]:
        return self._committer.on_committed

    @on_committed.setter
    def on_committed(self, callback: Callable[[Sequence[PendingDelivery]], None]) -> None:
        self._committer.on_committed = callback

    @property
    def on_caught_up(self) -> Callable[[], None]:
        return self._committer.on_caught_up

    @on_caught_up.setter
    def on_caught_up(self, callback: Callable[[], None]) -> None:
        self._committer.on_caught_up = callback

    @property
    def accepts_mail(self) -> bool:
        return (
            self._space.is_enough
            and not self._committer.refuses_mail
            and self._shard.writer is not None
        )

    # -- writing ---------------------------------------------------------------------------

    def new_content(self) -> Content:
        return self._contents.new()

    async def commit(self, message: NewMessage) -> None:
        content = _ours(message.content)
        try:
            if content.needs_seal:  # here, not in the batch: large files sync side by side
                await self._run_blocking(content.seal)
            insertion = Insertion(message, content, self._shard.ids)
            await self._committer.do(Work((insertion,), [], is_mail=True))
        except BaseException:
            content.discard()
            raise

    def settle_soon(self, *changes: Change, reports: Sequence[NewMessage] = ()) -> None:
        self._forget_contents(changes)
        if not reports:
            self._committer.steps_soon(changes)
            return
        try:
            work = self._settlement(changes, reports)
        except SpoolError as error:
            for report in reports:
                report.content.discard()
            self._committer.hold_unrecorded(changes, error)
        else:
            self._committer.do_soon(work)

    async def settle(self, *changes: Change, reports: Sequence[NewMessage] = ()) -> None:
        try:
            await self._committer.do(self._settlement(changes, reports))
        except BaseException:
            for report in reports:
                report.content.discard()
            raise
        self._forget_contents(changes)

    def _settlement(self, changes: Sequence[Change], reports: Sequence[NewMessage]) -> Work:
        insertions = [
            Insertion(report, _ours(report.content), self._shard.ids) for report in reports
        ]
        return Work(insertions, list(changes))

    def _forget_contents(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if not isinstance(change, Release):
                self._resident.settled(number_of_key(change.key))

    async def mark_attempt(self, key: int) -> None:
        await self._committer.do(Work((), [Mark(key)]))

    async def discard(self, key: int) -> None:
        await self.settle(Finish(key))

    async def lane_pause(self, lane: str, not_before: float, failures: int) -> None:
        await self._committer.do(Work((), [Pause(lane, not_before, failures)]))

    # -- questions: each sees what `settle_soon` took before it --------------------------------

    async def due(self, lane: str, now: float, limit: int) -> Sequence[PendingDelivery]:
        return await self._ask_for(lambda reader, limit: reader.due(lane, now, limit), limit)

    async def next_due(self, lane: str, now: float) -> float | None:
        return await self._ask(lambda reader: reader.next_due(lane, now))

    async def lanes(self) -> Sequence[str]:
        return await self._ask(lambda reader: reader.lanes())

    async def aged(
        self, arrived_before: float, *, unwarned: bool, limit: int
    ) -> Sequence[PendingDelivery]:
        return await self._ask_for(
            lambda reader, limit: reader.aged(arrived_before, unwarned, limit), limit
        )

    async def oldest_arrival(self, *, unwarned: bool) -> float | None:
        return await self._ask(lambda reader: reader.oldest_arrival(unwarned))

    async def find(self, what: Filter, limit: int) -> Sequence[PendingDelivery]:
        found: list[PendingDelivery] = []
        start: int | None = 0
        while start is not None and len(found) < limit:
            await self._committer.catch_up()
            unsettled = self._committer.unsettled_keys()
            deliveries, start = await self._read(partial(_search, what, start))
            found += _settled(deliveries, unsettled)
        return found[:limit]

    async def lane_pauses(self) -> dict[str, tuple[float, int]]:
        return await self._read(lambda reader: reader.pauses())

    async def gauges(self) -> SpoolGauges:
        writer = self._shard.writer
        if writer is None:
            raise self._committer.unavailable()
        totals = writer.totals
        return SpoolGauges(
            messages=totals.messages,
            queued=totals.queued,
            held=totals.held,
            octets=totals.octets,
            free=self._space.free,
            accepting=self.accepts_mail,
            in_flight=self._contents.in_flight,
        )

    # -- content ---------------------------------------------------------------------------

    def whole(self, message: StoredMessage) -> bytes | None:
        number = self._shard.ids.number(message.queue_id)
        return None if number is None else self._resident.get(number)

    def chunks(self, message: StoredMessage) -> AsyncIterator[bytes]:
        return _Chunks(self, message)

    async def head(self, message: StoredMessage, limit: int) -> bytes:
        content = self.whole(message)
        if content is not None:
            return content[:limit]
        number = self._number(message)
        name, head = await self._read(lambda reader: reader.content_head(number, limit))
        return head if name is None else await self._read_file(name, 0, limit)

    async def _locate(self, message: StoredMessage) -> tuple[str | None, bytes]:
        content = self.whole(message)
        if content is not None:
            return None, content
        number = self._number(message)
        return await self._read(lambda reader: reader.content(number))

    async def _read_file(self, name: str, offset: int, length: int) -> bytes:
        try:
            return await self._contents.read(name, offset, length)
        except OSError as error:
            raise spool_error(error) from error

    def _number(self, message: StoredMessage) -> int:
        number = self._shard.ids.number(message.queue_id)
        if number is None:
            raise SpoolUnavailable(f"{message.queue_id!r} is no queue id of this spool")
        return number

    async def _ask(self, question: Callable[[Reader], T]) -> T:
        await self._committer.catch_up()
        return await self._read(question)

    async def _read(self, question: Callable[[Reader], T]) -> T:
        if self._shard.reader is None:
            await self._committer.open_again()
        async with self._reading:
            reader = self._shard.reader
            if reader is None:
                raise self._committer.unavailable()
            try:
                return await self._run_blocking(partial(question, reader))
            except sqlite3.Error as error:
                raise SpoolUnavailable(f"database: {error}") from error

    async def _ask_for(
        self, question: Callable[[Reader, int], Sequence[Found]], limit: int
    ) -> list[PendingDelivery]:
        """Fewer than ``limit`` are all there are, whatever was left out."""
        more = 0
        while True:
            await self._committer.catch_up()
            unsettled = self._committer.unsettled_keys()
            found = await self._read(partial(_asked, question, limit + more))
            readable = _settled(self._readable(found), unsettled)
            left_out = len(found) - len(readable)
            if len(found) < limit + more or left_out <= more:
                return readable[:limit]
            more = left_out

    def _readable(self, found: Sequence[Found]) -> list[PendingDelivery]:
        """Leave out, and hold, what does not parse: it must not stop the rest."""
        readable = []
        for each in found:
            if isinstance(each, Unreadable):
                delivery = each.delivery
                self._committer.steps_soon([Hold(delivery.key, each.problem)])
                self._observer(
                    Held(
                        queue_id=delivery.message.queue_id,
                        lane=delivery.lane,
                        reason=each.problem,
                    )
                )
            else:
                readable.append(each)
        return readable


def _settled(deliveries: list[PendingDelivery], unsettled: set[int]) -> list[PendingDelivery]:
    """Leave out those with an outcome that was not durable when we asked: the disk may have
    taken it since, but not in the answer. Who changes one from then on knows that by himself."""
    return [each for each in deliveries if each.key not in unsettled]


def _asked(
    question: Callable[[Reader, int], Sequence[Found]], limit: int, reader: Reader
) -> Sequence[Found]:
    return question(reader, limit)


def _search(what: Filter, start: int, reader: Reader) -> tuple[list[PendingDelivery], int | None]:
    return reader.search(what, start)


def _ours(content: Content) -> SpoolContent:
    if not isinstance(content, SpoolContent):
        raise TypeError("the content is not from this spool's new_content")
    return content


class _Chunks:
    """Reads on demand; holds nothing open, so it may be abandoned."""

    def __init__(self, spool: SqliteSpool, message: StoredMessage) -> None:
        self._spool = spool
        self._message = message
        self._file: str | None = None
        self._offset: int | None = None  # None: not begun

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        size = self._message.size
        if self._offset is None:
            self._file, content = await self._spool._locate(self._message)
            self._offset = 0
            if self._file is None:
                self._offset = size
                if len(content) != size:
                    raise SpoolUnavailable("the content is not as long as it was")
                if content:
                    return content
        if self._offset >= size:
            raise StopAsyncIteration
        assert self._file is not None, "the database gives all at once"  # noqa: S101  narrows
        length = min(PIECE, size - self._offset)
        data = await self._spool._read_file(self._file, self._offset, length)
        if len(data) != length:
            raise SpoolUnavailable("the content file is not as long as it was")
        self._offset += length
        return data
