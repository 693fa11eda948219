"""Mail in a lane that no route makes any more finds its new lane, or is held.

That happens when routes were changed between two runs. It delivers nothing.
"""

from __future__ import annotations

from typing import Final

from edgerelay.observe.events import Held, Observer
from edgerelay.relay.routing import Router
from edgerelay.runtime import Clock
from edgerelay.spool.api import (
    Change,
    Hold,
    NewDelivery,
    PendingDelivery,
    PendingRecipient,
    Reschedule,
    Split,
    Spool,
    Status,
)

NO_ROUTE: Final = "no route takes its recipients any more"
_BATCH: Final = 200
_ANY_TIME: Final = 1e12  # due times lie before it


async def reroute(
    lane: str, spool: Spool, router: Router, observer: Observer, clock: Clock
) -> set[str]:
    """Move all that is queued in ``lane``; return the lanes it went to.

    Raises `SpoolError`; what was moved until then stays moved.
    """
    moved: set[str] = set()
    while found := await spool.due(lane, _ANY_TIME, _BATCH):
        changes = [_change_for(delivery, router, clock()) for delivery in found]
        await spool.settle(*changes)
        for delivery, change in zip(found, changes, strict=True):
            if isinstance(change, Hold):
                queue_id = delivery.message.queue_id
                observer(Held(queue_id=queue_id, lane=lane, reason=change.reason))
            elif isinstance(change, Reschedule) and change.lane is not None:
                moved.add(change.lane)
            elif isinstance(change, Split):
                moved.update(new.lane for new in change.into if new.status is Status.QUEUED)
    return moved


def _change_for(delivery: PendingDelivery, router: Router, now: float) -> Change:
    client = delivery.message.client
    # What we wrote ourselves, and what trusted clients gave us, may go anywhere.
    anywhere = client.trusted or delivery.message.about is not None
    by_lane: dict[str | None, list[PendingRecipient]] = {}
    for pending in delivery.recipients:
        spec = router.lane_of(pending.recipient.forward_path.mailbox, anywhere=anywhere)
        by_lane.setdefault(spec.name if spec else None, []).append(pending)
    due = min(delivery.due, now)
    if len(by_lane) > 1:
        return Split(
            delivery.key,
            tuple(_new(delivery.lane, lane, pending) for lane, pending in by_lane.items()),
            due,
        )
    (lane,) = by_lane
    if lane is None:
        return Hold(delivery.key, NO_ROUTE)
    return Reschedule(
        delivery.key, delivery.recipients, due, delivery.attempts, delivery.warned, lane=lane
    )


def _new(old: str, lane: str | None, pending: list[PendingRecipient]) -> NewDelivery:
    recipients = tuple(one.recipient for one in pending)
    if lane is None:
        return NewDelivery(old, recipients, Status.HELD, NO_ROUTE)
    return NewDelivery(lane, recipients)
