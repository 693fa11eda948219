"""From what was agreed in commands, and octets, a message is made once or not at all."""

from __future__ import annotations

from typing import Any

from trio.testing import MockClock

from edgerelay.edge.boundary import Deliverable
from edgerelay.edge.replies import LOOP, NO_ROOM, PROBLEMS
from edgerelay.edge.transaction import Committed, MailTransaction
from edgerelay.mail.address import NULL_REVERSE_PATH, ForwardPath, Mailbox
from edgerelay.mail.envelope import ClientFacts, Envelope, Recipient
from edgerelay.smtp.events import DataProblem, EndOfData

World = Any  # tests/unit/edge/conftest.py
CLIENT = ClientFacts("192.0.2.1", "client.example", "ESMTP")


def begin(world: World) -> MailTransaction:
    transaction = MailTransaction(world.edge._shared, Envelope(NULL_REVERSE_PATH), 0.0)
    transaction.add(to("b@example.org"), Deliverable("lane"))
    transaction.open_content()
    return transaction


def to(mailbox: str) -> Recipient:
    return Recipient(ForwardPath(Mailbox.from_text(mailbox)))


async def test_what_was_committed_is_not_discarded(
    autojump_clock: MockClock, world: World
) -> None:
    transaction = begin(world)
    await transaction.receive(b"Subject: x\r\n")
    await transaction.receive(b"\r\nhello\r\n")
    result = await transaction.commit(EndOfData(None, 21), CLIENT, "T")
    assert isinstance(result, Committed)
    transaction.close()
    transaction.close()
    assert world.spool.contents == [b"Subject: x\r\n\r\nhello\r\n"]


async def test_a_problem_leaves_nothing(autojump_clock: MockClock, world: World) -> None:
    transaction = begin(world)
    await transaction.receive(b"half")
    gauges = world.edge.gauges()
    assert (gauges["transactions"], gauges["content"], gauges["content_in_memory"]) == (1, 4, 4)
    result = await transaction.commit(EndOfData(DataProblem.TOO_BIG, 5000), CLIENT, "T")
    assert result == PROBLEMS[DataProblem.TOO_BIG]
    transaction.close()
    await world.assert_nothing_leaks()


async def test_a_loop_is_thrown_away_before_it_has_all_come(
    autojump_clock: MockClock, world: World
) -> None:
    transaction = begin(world)
    await transaction.receive(b"Received: by x\r\n" * 102)
    await world.assert_no_content()
    await transaction.receive(b"more\r\n")
    await world.assert_no_content()
    assert await transaction.commit(EndOfData(None, 9), CLIENT, "T") == LOOP
    transaction.close()


async def test_a_mailbox_is_known_by_its_domain_without_case(
    autojump_clock: MockClock, world: World
) -> None:
    transaction = begin(world)
    assert transaction.knows(to("b@EXAMPLE.org"))
    assert not transaction.knows(to("B@example.org"))
    assert not transaction.knows(to("b@example.net"))
    transaction.close()


async def test_only_what_is_in_memory_counts_against_the_memory(
    autojump_clock: MockClock, world: World
) -> None:
    transaction = begin(world)
    for _ in range(6):
        await transaction.receive(b"x" * 100_000)
    gauges = world.edge.gauges()
    assert gauges["content"] == 600_000
    assert gauges["content_in_memory"] <= 300_000
    transaction.close()
    await world.assert_nothing_leaks()


async def test_when_memory_is_used_up_who_goes_on_sending_is_refused(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(content_memory=100)
    small = [begin(world) for _ in range(20)]
    for transaction in small:
        await transaction.receive(b"Subject: x\r\n\r\n" + b"y" * 100_000)
    for transaction in small:
        await transaction.receive(b"\r\n")
    results = [await t.commit(EndOfData(None, 9), CLIENT, "T") for t in small]
    refused = [result for result in results if result == NO_ROOM]
    assert 0 < len(refused) < 20
    assert all(isinstance(each, Committed) for each in results if each not in refused)
    for transaction in small:
        transaction.close()
    await world.assert_nothing_leaks()
