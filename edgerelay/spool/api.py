"""What a spool promises, as types: who commits, who delivers and who inspects see only this.

The words: a *message* is content and envelope; a *delivery* is that message's recipients of
one lane, the unit that is tried, retried and settled; a *lane* is a destination's name, which
the spool stores and never interprets.

Rule 1: when `commit` or `settle` returns, its effect survives a power loss.
Rule 2: a message exists while one of its deliveries does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NewType, Protocol

from edgerelay.mail.envelope import ClientFacts, Envelope, Recipient

#: Unique across shards and restarts, never used twice; letters and digits only.
QueueId = NewType("QueueId", str)


#: The one lane that means something to those on both sides of the spool: what waits there was
#: refused after its 250, with the reply in `NewDelivery.reason`, and is to be reported.
REFUSED_LANE: Final = "refused:"


class SpoolError(Exception):
    """The spool could not take it; nothing of it remains. The text is for the operator."""


class SpoolFull(SpoolError):
    """No room: 452 4.3.1."""


class SpoolUnavailable(SpoolError):
    """The disk failed: 451 4.3.0."""


class SpoolClosed(SpoolUnavailable):
    """We have let go of the shard, and nothing was in it."""


class SpoolLocked(SpoolError):
    """Another process owns the shard: its flock, not a pid, is the proof."""


class SpoolTooNew(SpoolError):
    """A newer edgerelay wrote it; this one must not touch it."""


class Status(Enum):
    QUEUED = "queued"  #: will be tried when it is due
    HELD = "held"  #: stays until an operator decides


class Content(Protocol):
    """A message's octets as the client sent them, dots unstuffed, while they arrive.

    Up to 256 KiB in memory, then a file in the spool's own directory. Whoever gets one from
    `Spool.new_content` either commits it or discards it.
    """

    @property
    def size(self) -> int:
        """Octets so far."""

    @property
    def is_7bit(self) -> bool:
        """No octet above 127 so far."""

    def feed(self, chunk: bytes) -> bool:
        """Take a chunk without waiting. True asks for `flush` before the next one."""

    async def flush(self) -> None:
        """Write what is buffered if it outgrew memory. Raises `SpoolError`."""

    def whole(self) -> bytes | None:
        """All of it, if it is in memory and ours; whoever wants more may still `feed`."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return octets of it, fewer at its end. Raises `SpoolError`.

        Until it is committed or discarded: afterwards that is an error too. Once a first
        read has returned, and nothing more is fed, several tasks may read, and any of them
        may be cancelled.
        """

    async def cut(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Leave out octets: (offset, length), in order and disjoint. Raises `SpoolError`.

        After it nothing may be fed, and octets are found where they are then. Costs a copy of
        the file, if there is one. After an error or a cancellation only `discard` may follow.
        """

    def discard(self) -> None:
        """Forget it; unlinks the file. Idempotent; a committed content is left alone."""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    lane: str
    recipients: tuple[Recipient, ...]
    status: Status = Status.QUEUED
    reason: str = ""  #: why it is held, or refused


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be committed. ``prepend`` is our trace fields, each ending in CRLF, and an
    empty line where the content has no header of its own to go on with them."""

    queue_id: QueueId
    envelope: Envelope
    client: ClientFacts
    arrived: float  #: wall clock
    prepend: bytes
    content: Content
    deliveries: tuple[NewDelivery, ...]
    about: QueueId | None = None  #: a report names the message it is about


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A committed message as every one of its deliveries sees it."""

    queue_id: QueueId
    envelope: Envelope
    client: ClientFacts
    arrived: float
    prepend: bytes
    size: int  #: of the content, without ``prepend``
    is_7bit: bool
    about: QueueId | None = None


@dataclass(frozen=True, slots=True)
class PendingRecipient:
    """A recipient that has no final outcome yet, and what was said of it last."""

    recipient: Recipient
    last_reply: str = ""  #: of the last attempt, "" before the first


@dataclass(frozen=True, slots=True)
class PendingDelivery:
    """One delivery as it was at its last durable change."""

    key: int  #: unique within the spool for its life
    message: StoredMessage
    lane: str
    recipients: tuple[PendingRecipient, ...]
    attempts: int  #: that ended in a deferral
    due: float  #: wall clock; not before
    status: Status
    reason: str = ""
    warned: bool = False  #: a delay report was sent
    on_probation: bool = False  #: was due when a worker died; see `Spool.mark_attempt`


@dataclass(frozen=True, slots=True)
class Finish:
    """Every recipient of the delivery has a final outcome: forget it."""

    key: int


@dataclass(frozen=True, slots=True)
class Reschedule:
    """These recipients remain, to be tried again at ``due`` (or now in lane ``lane``)."""

    key: int
    recipients: tuple[PendingRecipient, ...]
    due: float
    attempts: int
    warned: bool = False
    lane: str | None = None  #: moved to another lane


@dataclass(frozen=True, slots=True)
class Hold:
    """These recipients (None: all that remain) stay until an operator decides."""

    key: int
    reason: str
    recipients: tuple[PendingRecipient, ...] | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A held delivery is queued again; one that is queued is due at another time."""

    key: int
    due: float


@dataclass(frozen=True, slots=True)
class Split:
    """Several deliveries of the same message take the place of this one.

    They keep its attempts and whether it was warned of, and are found by `Spool.due`.
    """

    key: int
    into: tuple[NewDelivery, ...]
    due: float


Change = Finish | Reschedule | Hold | Release | Split


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries a queue command means; every field that is set must match."""

    queue_id: QueueId | None = None
    status: Status | None = None
    domain: str | None = None  #: of a recipient
    reverse_path: str | None = None  #: mailbox, "" is the null reverse-path
    forward_path: str | None = None
    lane: str | None = None
    older_than: float | None = None  #: arrived before this wall-clock time


@dataclass(frozen=True, slots=True)
class SpoolGauges:
    messages: int
    queued: int  #: deliveries
    held: int  #: deliveries
    octets: int  #: of content
    free: int  #: octets that new mail may take: the disk's and our own free pages
    accepting: bool  #: new mail is taken
    in_flight: int  #: contents open and not yet committed or discarded


class Spool(Protocol):
    """One shard: owned by one process, used from one Trio loop."""

    #: Called in the loop with the queued deliveries (held ones never) of each commit, before
    #: `commit` returns, with the content still in memory where it is small. Must not raise or
    #: block.
    on_committed: Callable[[Sequence[PendingDelivery]], None]

    #: Called in the loop when an outcome has become durable that the disk would not take at
    #: first: until then its delivery was left out of every answer. Must not raise or block.
    on_caught_up: Callable[[], None]

    @property
    def accepts_mail(self) -> bool:
        """False next to a full disk or after repeated disk errors: 452 4.3.1 at MAIL."""

    def allocate_id(self) -> QueueId: ...

    def new_content(self) -> Content: ...

    async def commit(self, message: NewMessage) -> None:
        """Make it durable, sharing one sync with whoever else waits.

        Raises `SpoolFull` or `SpoolUnavailable`: nothing was kept and 250 must not be said.
        Not cancelled half-way: a cancellation arrives before the write or after the commit.
        """

    def settle_soon(self, *changes: Change, reports: Sequence[NewMessage] = ()) -> None:
        """Record outcomes, and add the reports they caused, in one later transaction.

        Rides the next batch; a crash before it repeats an attempt, never loses one. Never
        raises; the questions below that are asked after it see its effect.
        """

    async def settle(self, *changes: Change, reports: Sequence[NewMessage] = ()) -> None:
        """The same, returning when durable."""

    async def mark_attempt(self, key: int) -> None:
        """Durably note that a delivery on probation is about to be tried."""

    async def due(self, lane: str, now: float, limit: int) -> Sequence[PendingDelivery]:
        """The first ``limit`` queued deliveries of a lane that are due, oldest due first."""

    async def next_due(self, lane: str, now: float) -> float | None:
        """When the next delivery of the lane falls due after ``now``, if there is one."""

    async def lanes(self) -> Sequence[str]:
        """Lanes that have queued deliveries."""

    async def aged(
        self, arrived_before: float, *, unwarned: bool, limit: int
    ) -> Sequence[PendingDelivery]:
        """Queued deliveries of messages older than that, oldest first; ``unwarned`` leaves
        out those that have had their delay report."""

    async def oldest_arrival(self, *, unwarned: bool) -> float | None:
        """Of all queued deliveries (see `aged`)."""

    async def find(self, what: Filter, limit: int) -> Sequence[PendingDelivery]:
        """Deliveries an operator asks about, oldest first, in short reads."""

    async def discard(self, key: int) -> None:
        """Delete a delivery because an operator said so; durable on return."""

    def chunks(self, message: StoredMessage) -> AsyncIterator[bytes]:
        """The content, at most 256 KiB at a time. Raises `SpoolUnavailable`."""

    def whole(self, message: StoredMessage) -> bytes | None:
        """The content, if it is in memory at this moment."""

    async def head(self, message: StoredMessage, limit: int) -> bytes:
        """The first ``limit`` octets of the content."""

    async def lane_pause(self, lane: str, not_before: float, failures: int) -> None:
        """Persist that a whole lane waits; (0, 0) ends the pause. Rows are not touched."""

    async def lane_pauses(self) -> dict[str, tuple[float, int]]:
        """Every persisted pause: lane to (not_before, failures)."""

    async def gauges(self) -> SpoolGauges: ...
