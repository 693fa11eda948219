"""What waits for the next transaction: messages as rows, changes, and whoever waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import trio

from edgerelay.spool.api import (
    Change,
    NewMessage,
    PendingDelivery,
    PendingRecipient,
    SpoolError,
    SpoolUnavailable,
    Status,
)
from edgerelay.spool.content import SpoolContent
from edgerelay.spool.queue_ids import DELIVERY_BITS, QueueIds, first_key
from edgerelay.spool.records import encode_message, encode_recipients, stored_message
from edgerelay.spool.schema import status_number


@dataclass(frozen=True, slots=True)
class Mark:
    """A delivery on probation is about to be tried."""

    key: int


@dataclass(frozen=True, slots=True)
class Pause:
    """A lane waits; (0, 0) ends the pause."""

    lane: str
    not_before: float
    failures: int


Step: TypeAlias = Change | Mark | Pause


class Insertion:
    """A new message as the rows it becomes, and as the deliveries it will be."""

    __slots__ = ("content", "data", "deliveries", "is_simple", "message", "number", "recipients")

    def __init__(self, message: NewMessage, content: SpoolContent, ids: QueueIds) -> None:
        """Raises `SpoolUnavailable` for what no row can hold."""
        number = ids.number(message.queue_id)
        if number is None:
            raise SpoolUnavailable(f"{message.queue_id!r} is no queue id of this spool")
        if not 0 < len(message.deliveries) < 1 << DELIVERY_BITS:
            raise SpoolUnavailable(f"a message with {len(message.deliveries)} deliveries")
        if not content.is_open:
            raise SpoolUnavailable("the content was committed or discarded before")
        self.number = number
        self.content = content
        self.data = content.take() if content.in_memory else None
        self.deliveries = deliveries = _deliveries(message, number)
        #: One queued delivery, content in the database: what nearly every message is.
        self.is_simple = (
            len(deliveries) == 1
            and self.data is not None
            and deliveries[0].status is Status.QUEUED
        )
        try:
            record = encode_message(message)
            self.recipients = [encode_recipients(each.recipients) for each in self.deliveries]
        except UnicodeError as error:
            raise SpoolUnavailable(f"text that is no Unicode: {error}") from error
        self.message = (
            number,
            message.queue_id,
            message.arrived,
            content.size,
            content.is_7bit,
            content.name,
            record,
            message.prepend,
        )

    def message_row(self) -> tuple[object, ...]:
        if self.data is None:  # the file got its name when it was sealed
            return (*self.message[:5], self.content.name, *self.message[6:])
        return self.message

    def delivery_rows(self, epoch: int) -> list[tuple[object, ...]]:
        return [
            (
                each.key,
                each.lane,
                status_number(each.status),
                each.due,
                each.due,  # arrived
                0,
                0,
                epoch,
                each.reason,
                recipients,
            )
            for each, recipients in zip(self.deliveries, self.recipients, strict=True)
        ]


def _deliveries(message: NewMessage, number: int) -> list[PendingDelivery]:
    stored = stored_message(message)
    first = first_key(number)
    return [
        PendingDelivery(
            first + index,
            stored,
            delivery.lane,
            tuple([PendingRecipient(recipient) for recipient in delivery.recipients]),
            0,
            message.arrived,
            delivery.status,
            delivery.reason,
        )
        for index, delivery in enumerate(message.deliveries)
    ]


class Work:
    """One caller's share of a transaction: all of it is done, or none."""

    __slots__ = ("error", "insertions", "is_bad", "is_late", "is_mail", "octets", "steps", "task")

    def __init__(
        self, insertions: Sequence[Insertion], steps: list[Step], *, is_mail: bool = False
    ) -> None:
        self.insertions = insertions
        self.steps = steps
        self.octets = 0  #: of content that goes into the database
        for insertion in insertions:
            self.octets += len(insertion.data or b"")
        self.is_bad = False  #: refused for what it is, not for the disk's sake
        self.is_late = False  #: the disk would not take it, or another in its place, before
        self.is_mail = is_mail  #: new mail is what must wait when the disk is full
        self.task: trio.lowlevel.Task | None = None  #: who is told; None: nobody waits
        self.error: SpoolError | None = None
