"""What an operator sees of the queue and does to it, on a spool in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Literal

import pytest

from edgerelay.control import queue
from edgerelay.control.messages import (
    EntryRecipient,
    Failure,
    QueueAct,
    QueueActed,
    QueueList,
    QueueListing,
    QueueMessage,
    QueueShow,
    Request,
    Response,
)
from edgerelay.control.queue import OfflineOperator, answer_queue
from edgerelay.mail.address import NULL_REVERSE_PATH, ReversePath
from edgerelay.mail.envelope import Envelope
from edgerelay.spool import SqliteSpool, open_memory_spool
from edgerelay.spool.api import Filter, SpoolUnavailable, Status
from edgerelay.testing.check_spool import ARRIVED, new_message, queued

NOW = ARRIVED + 3600.0
HELLO = b"Subject: hello\r\nX-Odd: \x1b[2J\xff\r\n folded\r\n\r\nbody\r\n"


def clock() -> float:
    return NOW


@pytest.fixture
async def spool() -> AsyncIterator[SqliteSpool]:
    async with open_memory_spool(clock=clock) as spool:
        yield spool


async def put(
    spool: SqliteSpool, *addresses: str, arrived: float = ARRIVED, lane: str = "mx:example.com"
) -> str:
    message = await new_message(
        spool,
        queued(lane, *addresses),
        content=HELLO,
        arrived=arrived,
        envelope=Envelope(NULL_REVERSE_PATH),
    )
    await spool.commit(message)
    return message.queue_id


async def ask(spool: SqliteSpool, request: Request) -> Response:
    assert isinstance(request, QueueList | QueueShow | QueueAct)
    return await answer_queue(request, spool, OfflineOperator(spool, clock), clock)


async def listed(spool: SqliteSpool, what: Filter | None = None, limit: int = 100) -> list[str]:
    listing = await ask(spool, QueueList(filter=what or Filter(), limit=limit))
    assert isinstance(listing, QueueListing)
    return [entry.queue_id for entry in listing.entries]


async def act(
    spool: SqliteSpool,
    action: Literal["flush", "hold", "release", "delete"],
    *ids: str,
    what: Filter | None = None,
    everything: bool = False,
) -> Response:
    return await ask(
        spool,
        QueueAct(action=action, ids=ids, filter=what or Filter(), everything=everything),
    )


async def test_a_listing_tells_the_first_recipients_and_how_many(spool: SqliteSpool) -> None:
    addresses = [f"user{n}@example.com" for n in range(8)]
    queue_id = await put(spool, *addresses)
    listing = await ask(spool, QueueList())
    assert isinstance(listing, QueueListing)
    (entry,) = listing.entries
    assert entry.queue_id == queue_id
    assert entry.recipients == tuple(
        EntryRecipient(forward_path=f"<{address}>") for address in addresses[:5]
    )
    assert entry.recipient_count == 8
    assert (entry.reverse_path, entry.status, entry.size) == ("<>", "queued", len(HELLO))


async def test_a_listing_says_when_it_is_cut(spool: SqliteSpool) -> None:
    for _ in range(3):
        await put(spool)
    listing = await ask(spool, QueueList(limit=2))
    assert isinstance(listing, QueueListing)
    assert (len(listing.entries), listing.cut) == (2, True)
    assert await ask(spool, QueueList(limit=3)) == replace_cut(await ask(spool, QueueList()))


def replace_cut(response: Response) -> Response:
    assert isinstance(response, QueueListing)
    return QueueListing(entries=response.entries, cut=False)


async def test_a_message_is_shown_with_an_escaped_header(spool: SqliteSpool) -> None:
    queue_id = await put(spool, "a@example.com", "b@example.com")
    shown = await ask(spool, QueueShow(queue_id=queue_id))
    assert isinstance(shown, QueueMessage)
    assert shown.header.endswith("Subject: hello\nX-Odd: \\x1b[2J\\xff\n folded")
    assert "body" not in shown.header
    assert len(shown.entries[0].recipients) == 2
    assert not shown.header_cut


async def test_a_message_that_is_not_there_has_no_entries(spool: SqliteSpool) -> None:
    assert await ask(spool, QueueShow(queue_id="nothing")) == QueueMessage(entries=())


async def test_hold_and_release(spool: SqliteSpool) -> None:
    first, second = await put(spool), await put(spool)
    assert await act(spool, "hold", first) == QueueActed(deliveries=1)
    assert await listed(spool, Filter(status=Status.HELD)) == [first]
    assert await act(spool, "hold", first) == QueueActed(deliveries=0)  # held already, not gone
    assert await act(spool, "release", everything=True) == QueueActed(deliveries=1)
    assert await listed(spool, Filter(status=Status.QUEUED)) == [first, second]


async def test_flush_makes_due_and_ends_the_pause_of_the_lane(spool: SqliteSpool) -> None:
    queue_id = await put(spool)
    (delivery,) = await spool.find(Filter(), 2)
    await spool.lane_pause(delivery.lane, NOW + 900, 3)
    await spool.lane_pause("another", NOW + 900, 3)
    assert await act(spool, "flush", queue_id) == QueueActed(deliveries=1)
    (delivery,) = await spool.find(Filter(), 2)
    assert delivery.due == NOW
    assert await spool.lane_pauses() == {"another": (NOW + 900, 3)}


async def test_flush_leaves_held_mail_held(spool: SqliteSpool) -> None:
    queue_id = await put(spool)
    await act(spool, "hold", queue_id)
    assert await act(spool, "flush", everything=True) == QueueActed(deliveries=0)
    assert await listed(spool, Filter(status=Status.HELD)) == [queue_id]


async def test_a_contradiction_matches_nothing(spool: SqliteSpool) -> None:
    await put(spool)
    acted = await act(spool, "release", what=Filter(status=Status.QUEUED))
    assert acted == QueueActed(deliveries=0)


async def test_delete_by_filter_leaves_the_rest(spool: SqliteSpool) -> None:
    gone = await put(spool, "a@example.com")
    stays = await put(spool, "a@example.org")
    assert await act(spool, "delete", what=Filter(domain="example.com")) == QueueActed(
        deliveries=1
    )
    assert await listed(spool) == [stays]
    assert await act(spool, "delete", gone, stays) == QueueActed(deliveries=1, missing=(gone,))
    assert await listed(spool) == []


async def test_everything_must_be_meant(spool: SqliteSpool) -> None:
    await put(spool)
    refused = await act(spool, "delete")
    assert isinstance(refused, Failure)
    assert len(await listed(spool)) == 1


@pytest.mark.parametrize("action", ["flush", "hold", "delete"])
async def test_every_delivery_is_acted_on_once_however_many(
    spool: SqliteSpool,
    action: Literal["flush", "hold", "delete"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "ROUND", 2)
    for _ in range(9):
        await put(spool)
    assert await act(spool, action, everything=True) == QueueActed(deliveries=9)


async def test_a_reverse_path_is_escaped(spool: SqliteSpool) -> None:
    await put(spool)
    (delivery,) = await spool.find(Filter(), 2)
    evil = replace(delivery, lane="mx:\x1b[2J", reason="a\nb")
    entry = queue.entry_of(evil, {}, None)
    assert (entry.lane, entry.reason) == (r"mx:\x1b[2J", r"a\nb")
    assert isinstance(delivery.message.envelope.reverse_path, ReversePath)


async def test_an_entry_tells_how_long_its_lane_is_paused(spool: SqliteSpool) -> None:
    queue_id = await put(spool)
    (delivery,) = await spool.find(Filter(), 2)
    await spool.lane_pause(delivery.lane, NOW + 900, 3)
    shown = await ask(spool, QueueShow(queue_id=queue_id))
    assert isinstance(shown, QueueMessage)
    assert shown.entries[0].lane_paused_until == NOW + 900


async def test_a_shard_that_was_let_go_of_meanwhile_failed_the_whole_question() -> None:
    """An adopted shard closes as soon as an operator has deleted the last of it."""
    async with open_memory_spool(clock=clock) as spool:
        queue_id = await put(spool, "a@example.com")
        assert await ask(spool, QueueAct(action="delete", ids=(queue_id,))) == QueueActed(
            deliveries=1
        )
    assert await ask(spool, QueueAct(action="delete", ids=(queue_id,))) == QueueActed(
        deliveries=0, missing=(queue_id,)
    )
    everything = QueueAct(action="delete", everything=True)
    assert await ask(spool, everything) == QueueActed(deliveries=0)
    assert await ask(spool, QueueList()) == QueueListing(entries=())
    assert await ask(spool, QueueShow(queue_id=queue_id)) == QueueMessage(entries=())


@pytest.mark.parametrize(
    "request_",
    [QueueList(), QueueShow(queue_id="x"), QueueAct(action="delete", everything=True)],
    ids=["list", "show", "act"],
)
async def test_mail_in_a_shard_that_was_closed_was_taken_for_gone(request_: Request) -> None:
    """A worker that ends closes what it has adopted: others must be asked."""
    async with open_memory_spool(clock=clock) as spool:
        await put(spool, "a@example.com")
    with pytest.raises(SpoolUnavailable, match="the spool is closed"):
        await ask(spool, request_)
