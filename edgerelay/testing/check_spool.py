"""What every spool must do, as one test that each of its forms passes.

    async def test_my_spool() -> None:
        await check_spool(make_my_spool)

``make`` opens a fresh and empty spool. Nothing here waits for time to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import trio

from edgerelay.mail.address import NULL_REVERSE_PATH, ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import Body, ClientFacts, Envelope, Notify, Recipient, Ret
from edgerelay.spool.api import (
    Filter,
    Finish,
    Hold,
    NewDelivery,
    NewMessage,
    PendingDelivery,
    PendingRecipient,
    QueueId,
    Release,
    Reschedule,
    Split,
    Spool,
    SpoolError,
    Status,
    StoredMessage,
)

MakeSpool = Callable[[], AbstractAsyncContextManager[Spool]]

LANE = "smtp://10.0.0.5:25"
ARRIVED = 1_700_000_000.0
CLIENT = ClientFacts("192.0.2.1", "client.example", "ESMTPS", "TLSv1.3 X", trusted=True)
ENVELOPE = Envelope(
    ReversePath(Mailbox('"odd@local"', "Sender.Example")),
    Body.EIGHT_BIT_MIME,
    smtputf8=True,
    requiretls=True,
    ret=Ret.HDRS,
    envid="QQ314159",
)
RECIPIENTS = (
    Recipient(ForwardPath(Mailbox("user", "example.com")), Notify.SUCCESS | Notify.DELAY),
    Recipient(ForwardPath(Mailbox("dürst", "bücher.example")), Notify.NEVER, "utf-8;d@b.example"),
    Recipient(ForwardPath(Mailbox("plain", "example.com"))),
)


def to(*addresses: str) -> tuple[Recipient, ...]:
    return tuple(Recipient(ForwardPath(Mailbox.from_text(each))) for each in addresses)


def queued(lane: str = LANE, *addresses: str) -> NewDelivery:
    return NewDelivery(lane, to(*(addresses or ("user@example.com",))))


async def new_message(
    spool: Spool,
    *deliveries: NewDelivery,
    content: bytes = b"Subject: hello\r\n\r\nbody\r\n",
    arrived: float = ARRIVED,
    envelope: Envelope = ENVELOPE,
    about: QueueId | None = None,
) -> NewMessage:
    """A message that is ready to be committed, its content fed as a session feeds it."""
    stream = spool.new_content()
    try:
        for start in range(0, len(content), 65_536):
            if stream.feed(content[start : start + 65_536]):
                await stream.flush()
    except SpoolError:
        stream.discard()
        raise
    return NewMessage(
        spool.allocate_id(),
        envelope,
        CLIENT,
        arrived,
        b"Received: x\r\n",
        stream,
        deliveries or (queued(),),
        about,
    )


async def read(spool: Spool, message: StoredMessage) -> bytes:
    return b"".join([chunk async for chunk in spool.chunks(message)])


async def due(spool: Spool, lane: str = LANE) -> list[PendingDelivery]:
    return list(await spool.due(lane, ARRIVED + 1e6, 1000))


async def check_spool(make: MakeSpool) -> None:
    """Raises AssertionError naming the promise that is broken."""
    for check in (
        _a_committed_message_is_whole,
        _content_of_any_size_comes_back,
        _content_can_be_read_before_it_is_committed,
        _what_is_cut_out_is_gone_and_the_rest_is_as_it_was,
        _on_committed_comes_before_commit_returns,
        _deliveries_settle_one_by_one,
        _outcomes_are_seen_by_later_questions,
        _due_is_by_lane_and_time,
        _held_mail_stays,
        _a_split_delivery_keeps_its_past,
        _old_mail_is_found_by_age,
        _reports_come_with_the_outcome,
        _an_operator_finds_deliveries,
        _a_lane_pause_persists,
        _nothing_is_kept_of_a_bad_message,
        _a_cancelled_commit_is_all_or_nothing,
    ):
        async with make() as spool:
            await check(spool)
            gauges = await spool.gauges()
            assert gauges.in_flight == 0, f"{check.__name__} left contents open"


async def _a_committed_message_is_whole(spool: Spool) -> None:
    about = spool.allocate_id()
    message = await new_message(
        spool, NewDelivery(LANE, RECIPIENTS), content=b"\xc3\xa9\r\n", about=about
    )
    await spool.commit(message)
    (delivery,) = await due(spool)
    stored = delivery.message
    assert stored.envelope == ENVELOPE
    assert stored.client == CLIENT
    assert stored.queue_id == message.queue_id
    assert stored.queue_id.isalnum()
    assert (stored.arrived, stored.prepend) == (ARRIVED, b"Received: x\r\n")
    assert (stored.size, stored.is_7bit, stored.about) == (4, False, about)
    assert tuple(each.recipient for each in delivery.recipients) == RECIPIENTS
    assert (delivery.lane, delivery.attempts, delivery.due) == (LANE, 0, ARRIVED)
    assert (delivery.status, delivery.reason) == (Status.QUEUED, "")
    assert (delivery.warned, delivery.on_probation) == (False, False)
    bare = await new_message(spool, queued("other"), envelope=Envelope(NULL_REVERSE_PATH))
    await spool.commit(bare)
    (second,) = await due(spool, "other")
    assert second.message.envelope == Envelope(NULL_REVERSE_PATH)
    assert second.message.is_7bit
    assert second.message.queue_id != stored.queue_id


async def _content_of_any_size_comes_back(spool: Spool) -> None:
    for size in (0, 1, 262_144, 262_145, 1_000_000):
        content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        await spool.commit(await new_message(spool, content=content))
        (delivery,) = await due(spool)
        message = delivery.message
        assert message.size == size
        assert await read(spool, message) == content
        assert await spool.head(message, 10) == content[:10]
        assert await spool.head(message, size + 10) == content
        assert spool.whole(message) in (None, content)
        # Deferred, it need not be in memory any more; it reads the same.
        again = Reschedule(delivery.key, delivery.recipients, ARRIVED, 1)
        await spool.settle(again)
        assert await read(spool, message) == content
        assert await spool.head(message, 10) == content[:10]
        async for chunk in spool.chunks(message):
            assert len(chunk) <= 262_144
        await spool.settle(Finish(delivery.key))
        try:
            await read(spool, message)
        except SpoolError:
            pass
        else:
            raise AssertionError("the content of a message that is gone could be read")


async def _content_can_be_read_before_it_is_committed(spool: Spool) -> None:
    for size in (0, 1, 262_144, 262_145, 700_000):
        octets = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        message = await new_message(spool, content=octets)
        content = message.content
        assert content.whole() == (octets if size <= 262_144 else None)
        for offset, length in ((0, 10), (size // 2, 300_000), (size - 1, 1), (size, 5)):
            if offset >= 0:
                read_ = await content.read(offset, length)
                assert read_ == octets[offset : offset + length]
        await spool.commit(message)
        assert content.whole() is None, "what was handed over is not ours to show"
        try:
            await content.read(0, 1)
        except SpoolError:
            pass
        else:
            raise AssertionError("content was read after its commit")
        (delivery,) = await due(spool)
        assert await read(spool, delivery.message) == octets
        await spool.settle(Finish(delivery.key))


_SOME = b"X-Odd: \xc3\xa9\r\n"


async def _what_is_cut_out_is_gone_and_the_rest_is_as_it_was(spool: Spool) -> None:
    for size in (0, 262_144 - 3 * len(_SOME), 262_144, 600_000):
        rest = b"0123456789abcde\n" * (size // 16 + 1)
        first, second = rest[: size // 2], rest[size // 2 : size]
        ranges = [(0, len(_SOME)), (len(_SOME) + len(first), 2 * len(_SOME))]
        message = await new_message(spool, content=_SOME + first + 2 * _SOME + second)
        content = message.content
        assert not content.is_7bit
        await content.cut(ranges)
        assert (content.size, content.is_7bit) == (size, True)
        assert await content.read(size // 2, 4) == second[:4]
        await content.cut([])
        await spool.commit(message)
        (delivery,) = await due(spool)
        assert (delivery.message.size, delivery.message.is_7bit) == (size, True)
        assert await read(spool, delivery.message) == first + second
        await spool.settle(Finish(delivery.key))
    message = await new_message(spool, content=_SOME * 40_000)
    await message.content.cut([(0, len(_SOME)), (len(_SOME), 39_999 * len(_SOME))])
    assert (message.content.whole(), message.content.is_7bit) == (b"", True)
    message.content.discard()


async def _on_committed_comes_before_commit_returns(spool: Spool) -> None:
    seen: list[PendingDelivery] = []
    contents: list[bytes | None] = []

    def on_committed(deliveries: Sequence[PendingDelivery]) -> None:
        seen.extend(deliveries)
        contents.extend(spool.whole(each.message) for each in deliveries)

    spool.on_committed = on_committed
    held = NewDelivery("quarantine", to("h@example.com"), Status.HELD, "asked for")
    await spool.commit(await new_message(spool, queued(), queued("b"), held, content=b"x"))
    assert [each.lane for each in seen] == [LANE, "b"], "held deliveries are nobody's to try"
    assert contents == [b"x", b"x"]
    assert await due(spool) == seen[:1], "what was offered is what is stored"
    spool.settle_soon(Finish(seen[0].key))
    assert spool.whole(seen[1].message) == b"x", "another delivery still needs it"
    spool.settle_soon(Finish(seen[1].key))
    assert spool.whole(seen[1].message) is None


async def _deliveries_settle_one_by_one(spool: Spool) -> None:
    await spool.commit(await new_message(spool, queued(), queued("b"), content=b"1234"))
    (first,) = await due(spool)
    (second,) = await due(spool, "b")
    await spool.settle(Finish(first.key))
    await spool.settle(Finish(first.key))  # once more does nothing
    assert await due(spool) == []
    gauges = await spool.gauges()
    assert (gauges.messages, gauges.queued, gauges.octets) == (1, 1, 4)
    later = PendingRecipient(second.recipients[0].recipient, "451 4.3.0 later")
    await spool.settle(Reschedule(second.key, (later,), ARRIVED + 60, 1, True, "c"))
    (moved,) = await due(spool, "c")
    assert moved.recipients == (later,)
    assert (moved.due, moved.attempts, moved.warned) == (ARRIVED + 60, 1, True)
    await spool.discard(moved.key)
    gauges = await spool.gauges()
    assert (gauges.messages, gauges.queued, gauges.octets) == (0, 0, 0)


async def _outcomes_are_seen_by_later_questions(spool: Spool) -> None:
    for _ in range(3):
        await spool.commit(await new_message(spool))
    first, second, third = await due(spool)
    spool.settle_soon(Finish(first.key))
    spool.settle_soon(Reschedule(second.key, second.recipients, ARRIVED + 2e6, 1))
    assert [each.key for each in await due(spool)] == [third.key]
    spool.settle_soon(Reschedule(third.key, third.recipients, ARRIVED + 3e6, 1))
    assert await spool.next_due(LANE, ARRIVED) == ARRIVED + 2e6
    spool.settle_soon(Finish(second.key), Finish(third.key))
    assert await spool.find(Filter(), 10) == []
    spool.settle_soon(Finish(third.key))
    assert await spool.oldest_arrival(unwarned=False) is None


async def _due_is_by_lane_and_time(spool: Spool) -> None:
    for offset, lane in ((30.0, "a"), (10.0, "a"), (20.0, "a"), (5.0, "b")):
        await spool.commit(await new_message(spool, queued(lane), arrived=ARRIVED + offset))
    assert sorted(await spool.lanes()) == ["a", "b"]
    found = await spool.due("a", ARRIVED + 20, 10)
    assert [each.due - ARRIVED for each in found] == [10, 20], "oldest due first, none too early"
    assert len(await spool.due("a", ARRIVED + 99, 2)) == 2
    assert await spool.next_due("a", ARRIVED + 20) == ARRIVED + 30
    assert await spool.next_due("a", ARRIVED + 30) is None
    assert await spool.due("c", ARRIVED + 99, 10) == []
    (other,) = await due(spool, "b")
    await spool.settle(Finish(other.key))
    assert list(await spool.lanes()) == ["a"]
    await spool.settle(Release(found[0].key, ARRIVED + 50))
    assert await spool.next_due("a", ARRIVED + 30) == ARRIVED + 50, "released means due then"


async def _held_mail_stays(spool: Spool) -> None:
    await spool.commit(await new_message(spool))
    (delivery,) = await due(spool)
    await spool.settle(Hold(delivery.key, "by request"))
    assert await due(spool) == []
    assert await spool.lanes() == []
    assert await spool.oldest_arrival(unwarned=False) is None
    gauges = await spool.gauges()
    assert (gauges.queued, gauges.held) == (0, 1)
    (held,) = await spool.find(Filter(status=Status.HELD), 10)
    assert (held.status, held.reason) == (Status.HELD, "by request")
    left = (PendingRecipient(delivery.recipients[0].recipient, "250 2.0.0 no"),)
    await spool.settle(Hold(delivery.key, "again", left))
    await spool.settle(Reschedule(delivery.key, left, ARRIVED, 3))
    (held,) = await spool.find(Filter(status=Status.HELD), 10)
    assert (held.reason, held.recipients, held.attempts) == ("again", left, 3)
    await spool.settle(Release(delivery.key, ARRIVED + 7))
    (released,) = await due(spool)
    assert (released.due, released.reason, released.status) == (ARRIVED + 7, "", Status.QUEUED)
    gauges = await spool.gauges()
    assert (gauges.queued, gauges.held) == (1, 0)


async def _a_split_delivery_keeps_its_past(spool: Spool) -> None:
    await spool.commit(await new_message(spool, queued(LANE, "a@x.example", "b@y.example")))
    (delivery,) = await due(spool)
    await spool.settle(Reschedule(delivery.key, delivery.recipients, ARRIVED, 4, warned=True))
    poor = NewDelivery("z", to("b@y.example"), Status.HELD, "poor")
    await spool.settle(Split(delivery.key, (queued("x", "a@x.example"), poor), ARRIVED + 1))
    assert await due(spool) == []
    (first,) = await due(spool, "x")
    (second,) = await spool.find(Filter(status=Status.HELD), 10)
    assert (first.attempts, first.warned, first.due) == (4, True, ARRIVED + 1)
    assert second.reason == "poor"
    assert first.message == second.message == delivery.message
    assert len({delivery.key, first.key, second.key}) == 3
    await spool.settle(Split(delivery.key, (queued("x"),), ARRIVED))  # it is gone
    gauges = await spool.gauges()
    assert (gauges.messages, gauges.queued, gauges.held) == (1, 1, 1)
    await spool.settle(Finish(first.key), Finish(second.key))
    assert (await spool.gauges()).messages == 0


async def _old_mail_is_found_by_age(spool: Spool) -> None:
    assert await spool.oldest_arrival(unwarned=True) is None
    for offset in (30.0, 10.0, 20.0):
        await spool.commit(await new_message(spool, arrived=ARRIVED + offset))
    first = (await due(spool))[0]
    await spool.settle(Reschedule(first.key, first.recipients, ARRIVED + 40, 1, warned=True))
    everything = await spool.aged(ARRIVED + 25, unwarned=False, limit=10)
    assert [each.message.arrived - ARRIVED for each in everything] == [10, 20]
    unwarned = await spool.aged(ARRIVED + 25, unwarned=True, limit=10)
    assert [each.message.arrived - ARRIVED for each in unwarned] == [20]
    assert len(await spool.aged(ARRIVED + 99, unwarned=False, limit=1)) == 1
    assert await spool.oldest_arrival(unwarned=False) == ARRIVED + 10
    assert await spool.oldest_arrival(unwarned=True) == ARRIVED + 20


async def _reports_come_with_the_outcome(spool: Spool) -> None:
    offered: list[PendingDelivery] = []
    spool.on_committed = offered.extend
    await spool.commit(await new_message(spool))
    (delivery,) = offered
    offered.clear()
    report = await new_message(spool, queued("back"), about=delivery.message.queue_id)
    spool.settle_soon(Finish(delivery.key), reports=[report])
    (stored,) = await due(spool, "back")
    assert offered == [stored]
    assert stored.message.about == delivery.message.queue_id
    assert await due(spool) == []
    report = await new_message(spool, queued("back"))
    await spool.settle(Finish(stored.key), reports=[report])
    (second,) = await due(spool, "back")
    assert second.message.queue_id == report.queue_id


async def _an_operator_finds_deliveries(spool: Spool) -> None:
    null = Envelope(NULL_REVERSE_PATH)
    await spool.commit(await new_message(spool, queued("a", "user@example.com")))
    await spool.commit(
        await new_message(
            spool, queued("b", "u@BÜCHER.example"), envelope=null, arrived=ARRIVED + 9
        )
    )

    async def found(what: Filter) -> list[str]:
        return [each.lane for each in await spool.find(what, 10)]

    (first,) = await spool.find(Filter(lane="a"), 10)
    assert await found(Filter()) == ["a", "b"], "oldest first"
    assert len(await spool.find(Filter(), 1)) == 1
    assert await found(Filter(queue_id=first.message.queue_id)) == ["a"]
    assert await found(Filter(queue_id=QueueId("nonsense"))) == []
    assert await found(Filter(queue_id=spool.allocate_id())) == []
    assert await found(Filter(domain="EXAMPLE.com")) == ["a"]
    assert await found(Filter(domain="xn--bcher-kva.example")) == ["b"]
    assert await found(Filter(forward_path="user@Example.com")) == ["a"]
    assert await found(Filter(forward_path="User@example.com")) == []
    assert await found(Filter(reverse_path='"odd@local"@sender.example')) == ["a"]
    assert await found(Filter(reverse_path="")) == ["b"]
    assert await found(Filter(older_than=ARRIVED + 5)) == ["a"]
    assert await found(Filter(status=Status.QUEUED, lane="b")) == ["b"]
    assert await found(Filter(status=Status.HELD)) == []
    assert await found(Filter(lane="a", domain="bücher.example")) == []


async def _a_lane_pause_persists(spool: Spool) -> None:
    await spool.lane_pause("a", ARRIVED, 3)
    await spool.lane_pause("b", ARRIVED + 1, 1)
    await spool.lane_pause("a", ARRIVED + 2, 4)
    assert await spool.lane_pauses() == {"a": (ARRIVED + 2, 4), "b": (ARRIVED + 1, 1)}
    await spool.lane_pause("a", 0, 0)
    assert list(await spool.lane_pauses()) == ["b"]


async def _nothing_is_kept_of_a_bad_message(spool: Spool) -> None:
    good = await new_message(spool, queued("good"))
    bad = await new_message(spool, queued("bad\ud800"), content=b"x" * 300_000)
    outcomes: list[str] = []

    async def commit(message: NewMessage) -> None:
        try:
            await spool.commit(message)
        except SpoolError:
            outcomes.append("refused")
        else:
            outcomes.append("kept")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(commit, good)
        nursery.start_soon(commit, bad)
    assert sorted(outcomes) == ["kept", "refused"]
    assert list(await spool.lanes()) == ["good"]
    gauges = await spool.gauges()
    assert (gauges.messages, gauges.queued) == (1, 1)


async def _a_cancelled_commit_is_all_or_nothing(spool: Spool) -> None:
    message = await new_message(spool, content=b"x" * 300_000)
    with trio.CancelScope() as scope:
        scope.cancel()
        await spool.commit(message)
    assert scope.cancelled_caught
    assert await due(spool) == []
    message = await new_message(spool)
    message.content.discard()
    message.content.discard()
    assert (await spool.gauges()).messages == 0
