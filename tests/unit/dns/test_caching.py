"""One question a name: the rest is memory, and one waiter's end is not the others'."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edgerelay.dns.answer import Answer, Mx, Record, Status
from edgerelay.dns.caching import CachingResolver
from edgerelay.observe.events import Event, Trouble
from edgerelay.testing.literal_dns import Fault, LiteralResolver, Zone

ZONE: Zone = {
    ("example.com", "A"): ["192.0.2.1"],
    ("silent.example", "A"): Fault.TIMEOUT,
    ("broken.example", "A"): Fault.SERVFAIL,
}


class Scripted:
    """Answers every question with one value, after a while."""

    def __init__(self, answer: Answer | Exception, takes: float = 0.0) -> None:
        self.answer = answer
        self.takes = takes
        self.asked = 0
        self.now = 0
        self.most = 0

    async def resolve(self, name: str, rdtype: str) -> Answer:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(self.takes)
        finally:
            self.now -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_a_second_question_is_answered_from_memory(nursery: trio.Nursery) -> None:
    upstream = LiteralResolver(ZONE)
    resolver = CachingResolver(upstream, nursery)
    first = await resolver.resolve("example.com", "A")
    assert await resolver.resolve("EXAMPLE.com.", "A") is first
    assert upstream.asked == [("example.com", "A")]


@pytest.mark.parametrize(
    ("status", "ttl", "kept"),
    [
        # Neither a TTL of nothing nor one of a year is believed.
        (Status.FOUND, 0, 10),
        (Status.FOUND, 60, 60),
        (Status.FOUND, 2**31 - 1, 86400),
        (Status.NXDOMAIN, 0, 10),
        (Status.NXDOMAIN, 300, 300),
        (Status.NO_DATA, 86400, 900),
        # A failure has no TTL: it is remembered just long enough to spare the server.
        (Status.TEMPORARY, 0, 10),
    ],
)
async def test_how_long_an_answer_is_kept(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    status: Status,
    ttl: float,
    kept: float,
) -> None:
    records: tuple[Record, ...] = ("192.0.2.1",) if status is Status.FOUND else ()
    upstream = Scripted(Answer(status, records, ttl))
    resolver = CachingResolver(upstream, nursery)
    assert (await resolver.resolve("example.com", "A")).ttl == kept
    await trio.sleep(kept - 1)
    await resolver.resolve("example.com", "A")
    assert upstream.asked == 1
    await trio.sleep(2)
    await resolver.resolve("example.com", "A")
    assert upstream.asked == 2


async def test_simultaneous_questions_are_one(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    upstream = Scripted(Answer(Status.FOUND, ("192.0.2.1",), 60), takes=1)
    resolver = CachingResolver(upstream, nursery)
    async with trio.open_nursery() as askers:
        for _ in range(50):
            askers.start_soon(resolver.resolve, "example.com", "A")
    assert upstream.asked == 1


async def test_one_waiters_cancellation_leaves_the_others_and_the_answer(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    upstream = Scripted(Answer(Status.FOUND, ("192.0.2.1",), 60), takes=2)
    resolver = CachingResolver(upstream, nursery)
    answers = []

    async def ask(patience: float) -> None:
        with trio.move_on_after(patience):
            answers.append(await resolver.resolve("example.com", "A"))

    async with trio.open_nursery() as askers:
        askers.start_soon(ask, 1)  # the one whose question it was
        askers.start_soon(ask, 10)
    assert len(answers) == 1
    with trio.move_on_after(1):
        await resolver.resolve("other.example", "A")
    await trio.sleep(2)
    assert (await resolver.resolve("other.example", "A")).status is Status.FOUND
    assert upstream.asked == 2


async def test_a_question_without_an_answer_is_a_temporary_failure_in_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    upstream = LiteralResolver(ZONE)
    resolver = CachingResolver(upstream, nursery, timeout=3)
    started = trio.current_time()
    assert (await resolver.resolve("silent.example", "A")).status is Status.TEMPORARY
    assert trio.current_time() - started == pytest.approx(3)
    # ... and the next who asks does not wait as long.
    assert (await resolver.resolve("silent.example", "A")).status is Status.TEMPORARY
    assert trio.current_time() - started == pytest.approx(3)
    assert len(upstream.asked) == 1


async def test_few_questions_at_a_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    upstream = Scripted(Answer(Status.NXDOMAIN), takes=1)
    resolver = CachingResolver(upstream, nursery, timeout=2.5, concurrent=3)
    answers: list[Answer] = []

    async def ask(name: str) -> None:
        answers.append(await resolver.resolve(name, "A"))

    async with trio.open_nursery() as askers:
        for number in range(12):
            askers.start_soon(ask, f"n{number}.example")
    assert upstream.most == 3
    # Whoever had no turn within the time limit is told so: nobody waits longer than that.
    statuses = [answer.status for answer in answers]
    assert (statuses.count(Status.NXDOMAIN), statuses.count(Status.TEMPORARY)) == (6, 6)


async def test_the_cache_is_bounded_and_drops_the_least_used(nursery: trio.Nursery) -> None:
    upstream = Scripted(Answer(Status.FOUND, ((b"x" * 200,),), 600))
    resolver = CachingResolver(upstream, nursery, cache_size=10_000)
    await resolver.resolve("kept.example", "TXT")
    for number in range(100):
        await resolver.resolve(f"n{number}.example", "TXT")
        await resolver.resolve("kept.example", "TXT")
    assert upstream.asked == 101
    await resolver.resolve("n0.example", "TXT")
    assert upstream.asked == 102


async def test_an_answer_larger_than_the_cache_is_given_not_kept(
    nursery: trio.Nursery,
) -> None:
    upstream = Scripted(Answer(Status.FOUND, (Mx(1, "x" * 200), "y" * 200), 600))
    resolver = CachingResolver(upstream, nursery, cache_size=1000)
    for _ in range(2):
        assert len((await resolver.resolve("example.com", "MX")).records) == 2
    assert upstream.asked == 2


async def test_an_upstream_that_raises_is_a_temporary_failure_and_an_event(
    nursery: trio.Nursery,
) -> None:
    events: list[Event] = []
    resolver = CachingResolver(Scripted(KeyError("odd")), nursery, observer=events.append)
    assert (await resolver.resolve("example.com", "A")).status is Status.TEMPORARY
    assert isinstance(events[0], Trouble)
    assert events[0].detail == "example.com A: KeyError('odd')"


async def test_the_authentic_bit_is_only_repeated(nursery: trio.Nursery) -> None:
    signed = Answer(Status.FOUND, ("192.0.2.1",), 60, authentic=True)
    assert (await CachingResolver(Scripted(signed), nursery).resolve("a.example", "A")).authentic


async def test_a_hit_needs_no_checkpoint(nursery: trio.Nursery) -> None:
    resolver = CachingResolver(LiteralResolver(ZONE), nursery)
    await resolver.resolve("example.com", "A")
    with trio.testing.assert_no_checkpoints():
        await resolver.resolve("example.com", "A")
