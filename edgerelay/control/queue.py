"""A worker's answers about its queue, and an operator's hand on it.

The same code answers for a relay that is not running: the command line opens the shards and
gives `OfflineOperator` in place of the relay.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from edgerelay.control.messages import (
    Action,
    EntryRecipient,
    Failure,
    QueueAct,
    QueueActed,
    QueueEntry,
    QueueList,
    QueueListing,
    QueueMessage,
    QueueShow,
    Response,
)
from edgerelay.observe.escape import escape
from edgerelay.runtime import Clock
from edgerelay.spool.api import (
    Filter,
    Hold,
    PendingDelivery,
    QueueId,
    Release,
    Spool,
    SpoolClosed,
    Status,
    StoredMessage,
)

#: Recipients told of in each entry of a listing; one message alone is told whole.
LISTED_RECIPIENTS: Final = 5
#: Entries that one answer may hold whatever was asked for; they stay far below a frame.
MAX_ENTRIES: Final = 5000
#: Deliveries of one message: it has at most so many recipients.
MAX_DELIVERIES: Final = 10_000
#: Octets of a message's header that are shown.
HEADER_LIMIT: Final = 32 * 1024
#: Deliveries acted on in one round; rounds end when nothing is left to act on.
ROUND: Final = 1000


class Operator(Protocol):
    """Acts on deliveries, knowing which are being tried right now. Returns how many it did."""

    async def flush(self, deliveries: Sequence[PendingDelivery]) -> int: ...
    async def hold(self, deliveries: Sequence[PendingDelivery], reason: str) -> int: ...
    async def release(self, deliveries: Sequence[PendingDelivery]) -> int: ...
    async def delete(self, deliveries: Sequence[PendingDelivery]) -> int: ...


QueueRequest = QueueList | QueueShow | QueueAct


async def answer_queue(
    request: QueueRequest, spool: Spool, operator: Operator, clock: Clock
) -> Response:
    """Answer one question about one shard. Raises what the spool raises.

    A shard that is let go of meanwhile was empty: what was asked about is not in it.
    """
    match request:
        case QueueList():
            try:
                return await _list(request, spool)
            except SpoolClosed:
                return QueueListing(entries=())
        case QueueShow():
            try:
                return await _show(request, spool)
            except SpoolClosed:
                return QueueMessage(entries=())
        case QueueAct():
            return await _act(request, spool, operator)


async def _list(request: QueueList, spool: Spool) -> Response:
    limit = max(0, min(request.limit, MAX_ENTRIES))
    found = await spool.find(request.filter, limit + 1)
    pauses = await spool.lane_pauses()
    entries = tuple(entry_of(delivery, pauses, LISTED_RECIPIENTS) for delivery in found[:limit])
    return QueueListing(entries=entries, cut=len(found) > limit)


async def _show(request: QueueShow, spool: Spool) -> Response:
    found = await spool.find(Filter(queue_id=QueueId(request.queue_id)), MAX_DELIVERIES)
    if not found:
        return QueueMessage(entries=())
    header, cut = await _header(found[0].message, spool)
    pauses = await spool.lane_pauses()
    entries = tuple(entry_of(delivery, pauses, None) for delivery in found)
    return QueueMessage(entries=entries, header=header, header_cut=cut)


async def _header(message: StoredMessage, spool: Spool) -> tuple[str, bool]:
    """The header as it will leave, our own fields first, each line escaped."""
    content = await spool.head(message, HEADER_LIMIT)
    header, end, _ = content.partition(b"\r\n\r\n")
    cut = not end and len(content) == HEADER_LIMIT
    text = (message.prepend + header).decode("utf-8", "backslashreplace")
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    return "\n".join(escape(line.replace("\t", "    ")) for line in lines), cut


async def _act(request: QueueAct, spool: Spool, operator: Operator) -> Response:
    if not request.ids and request.filter == Filter() and not request.everything:
        return Failure(text="this would act on every delivery: say so, or name some")
    apply = _application(request, operator)
    wanted = _STATUS[request.action]
    if wanted and request.filter.status not in (None, wanted):
        return QueueActed(deliveries=0)
    what = replace(request.filter, status=wanted or request.filter.status)
    if not request.ids:
        return QueueActed(deliveries=await _act_on_all(what, spool, apply))
    done, missing = 0, []
    for id_ in request.ids:
        try:
            here = await _act_on_all(replace(what, queue_id=QueueId(id_)), spool, apply)
            done += here
            if not here and not await spool.find(Filter(queue_id=QueueId(id_)), 1):
                missing.append(id_)
        except SpoolClosed:
            missing.append(id_)
    return QueueActed(deliveries=done, missing=tuple(missing))


#: What an action is for; the others are left as they are. A held delivery is not flushed.
_STATUS: Final[dict[Action, Status | None]] = {
    "flush": Status.QUEUED,
    "hold": Status.QUEUED,
    "release": Status.HELD,
    "delete": None,
}

Apply = Callable[[Sequence[PendingDelivery]], Awaitable[int]]


def _application(request: QueueAct, operator: Operator) -> Apply:
    reason = escape(request.reason, 200) or "by request"
    applications: dict[Action, Apply] = {
        "flush": operator.flush,
        "hold": lambda deliveries: operator.hold(deliveries, reason),
        "release": operator.release,
        "delete": operator.delete,
    }
    return applications[request.action]


async def _act_on_all(what: Filter, spool: Spool, apply: Apply) -> int:
    """Act on every delivery that matches, once each, some at a time.

    What was acted on may match still (a flush) or not (a deletion), so each round looks for
    what it has not seen, and looks further when it has seen all there is.
    """
    done, limit, seen = 0, ROUND, set[int]()
    while True:
        try:
            found = await spool.find(what, limit)
        except SpoolClosed:
            return done  # the last of it was acted on
        fresh = [delivery for delivery in found if delivery.key not in seen]
        if fresh:
            seen.update(delivery.key for delivery in fresh)
            done += await apply(fresh)
        if len(found) < limit:
            return done
        if not fresh:
            limit *= 2


Pauses = Mapping[str, tuple[float, int]]


def entry_of(delivery: PendingDelivery, pauses: Pauses, recipients: int | None) -> QueueEntry:
    """Write one delivery down, escaped; None: all of its recipients."""
    message = delivery.message
    paused_until, _ = pauses.get(delivery.lane, (0.0, 0))
    return QueueEntry(
        queue_id=message.queue_id,
        lane=escape(delivery.lane, 300),
        status=delivery.status.value,
        reason=escape(delivery.reason, 300),
        arrived=message.arrived,
        due=delivery.due,
        lane_paused_until=paused_until,
        attempts=delivery.attempts,
        size=message.size,
        reverse_path=escape(str(message.envelope.reverse_path)),
        client=escape(message.client.address),
        helo=escape(message.client.helo, 255),
        recipients=tuple(
            EntryRecipient(
                forward_path=escape(str(pending.recipient.forward_path)),
                last_reply=escape(pending.last_reply, 500),
            )
            for pending in delivery.recipients[:recipients]
        ),
        recipient_count=len(delivery.recipients),
        about=message.about or "",
    )


class OfflineOperator:
    """Acts on the shard of a relay that is not running: nothing is being tried."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self._spool: Final = spool
        self._clock: Final = clock

    async def flush(self, deliveries: Sequence[PendingDelivery]) -> int:
        """Due when the relay starts; a pause of their lanes would only undo it."""
        paused = await self._spool.lane_pauses()
        for lane in {delivery.lane for delivery in deliveries} & paused.keys():
            await self._spool.lane_pause(lane, 0.0, 0)
        return await self.release(deliveries)

    async def hold(self, deliveries: Sequence[PendingDelivery], reason: str) -> int:
        await self._spool.settle(*(Hold(delivery.key, reason) for delivery in deliveries))
        return len(deliveries)

    async def release(self, deliveries: Sequence[PendingDelivery]) -> int:
        now = self._clock()
        await self._spool.settle(*(Release(delivery.key, now) for delivery in deliveries))
        return len(deliveries)

    async def delete(self, deliveries: Sequence[PendingDelivery]) -> int:
        for delivery in deliveries:
            await self._spool.discard(delivery.key)
        return len(deliveries)
