"""A message becomes rows, or is refused before anybody's transaction hears of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgerelay.mail.envelope import ClientFacts
from edgerelay.runtime import inline
from edgerelay.spool.api import NewDelivery, NewMessage, QueueId, SpoolUnavailable, Status
from edgerelay.spool.content import PIECE, ContentStore
from edgerelay.spool.disk import MemoryDisk
from edgerelay.spool.queue_ids import QueueIds, first_key
from edgerelay.spool.work import Insertion, Work
from edgerelay.testing.check_spool import ARRIVED, CLIENT, ENVELOPE, queued, to

IDS = QueueIds(lambda: ARRIVED, 1, 0)


def insertion(*deliveries: NewDelivery, size: int = 10, **changes: object) -> Insertion:
    content = ContentStore(MemoryDisk(), inline, 1).new()
    content.feed(b"x" * size)
    message = NewMessage(IDS.allocate(), ENVELOPE, CLIENT, ARRIVED, b"", content, deliveries)
    return Insertion(replace(message, **changes), content, IDS)  # type: ignore[arg-type]  # by name


def test_a_plain_message_is_simple() -> None:
    simple = insertion(queued())
    assert simple.is_simple
    (row,) = simple.delivery_rows(epoch=3)
    assert row[:8] == (first_key(simple.number), queued().lane, 0, ARRIVED, ARRIVED, 0, 0, 3)
    assert Work((simple, insertion(queued())), []).octets == 20


@pytest.mark.parametrize(
    "other",
    [
        insertion(queued(), queued("b")),
        insertion(NewDelivery("a", to("u@example.com"), Status.HELD, "x")),
        insertion(queued(), size=PIECE + 1),
    ],
    ids=["two deliveries", "held", "large"],
)
def test_any_other_is_not(other: Insertion) -> None:
    assert not other.is_simple


@pytest.mark.parametrize(
    "changes",
    [
        {"queue_id": QueueId("elsewhere")},
        {"deliveries": ()},
        {"client": ClientFacts("192.0.2.1", "helo\ud800", "SMTP")},
    ],
    ids=["another spool's id", "no delivery", "no Unicode"],
)
def test_what_no_row_can_hold_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SpoolUnavailable):
        insertion(queued(), size=10, **changes)


def test_a_content_is_committed_once() -> None:
    content = ContentStore(MemoryDisk(), inline, 1).new()
    message = NewMessage(IDS.allocate(), ENVELOPE, CLIENT, ARRIVED, b"", content, (queued(),))
    content.discard()
    with pytest.raises(SpoolUnavailable, match="before"):
        Insertion(message, content, IDS)
