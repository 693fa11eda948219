"""A hop is asked about a mailbox once; what it said is believed as long as is sensible."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edgerelay.mail.address import ForwardPath, Mailbox
from edgerelay.mail.reply import Reply
from edgerelay.observe.events import Event, Trouble
from edgerelay.relay.callout import Callout, ProbeFailed
from edgerelay.relay.routing import LaneSpec
from edgerelay.relay.settings import HopKind, NextHop
from edgerelay.runtime import inline
from edgerelay.tables import MemoryTables, SqliteTables, Table, TableError
from edgerelay.tables.api import Change
from edgerelay.testing.check_table import HandClock

LANE = LaneSpec("smtp://10.0.0.5:25", (NextHop(HopKind.SMTP, "10.0.0.5", 25),))
OTHER = LaneSpec("smtp://10.0.0.6:25", (NextHop(HopKind.SMTP, "10.0.0.6", 25),))
YES = Reply(250, "2.1.5", "OK")
NO = Reply(550, "5.1.1", "No such user")
LATER = Reply(450, "4.2.0", "Greylisted")
HOUR, DAY = 3600.0, 86400.0


def to(address: str) -> ForwardPath:
    return ForwardPath(Mailbox.from_text(address))


ANN = to("ann@example.com")


class Hop:
    """Answers every RCPT as it is told to, and counts."""

    def __init__(self, answer: Reply | Exception = YES, takes: float = 0.0) -> None:
        self.answer = answer
        self.takes = takes
        self.asked: list[str] = []
        self.now = 0
        self.most = 0

    async def __call__(self, lane: LaneSpec, forward_path: ForwardPath) -> Reply:
        self.asked.append(str(forward_path.mailbox))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(self.takes)
        finally:
            self.now -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class BrokenTable:
    async def get(self, key: str) -> bytes | None:
        raise TableError("disk on fire")

    async def put(self, key: str, value: bytes, *, expires_in: float) -> None:
        raise TableError("disk on fire")

    async def setdefault(self, key: str, value: bytes, *, expires_in: float) -> bytes:
        raise TableError("disk on fire")

    async def update(self, key: str, change: Change) -> bytes | None:
        raise TableError("disk on fire")

    async def delete(self, key: str) -> None:
        raise TableError("disk on fire")


class Scene:
    """A callout with everything around it."""

    def __init__(self, hop: Hop, table: Table | None = None) -> None:
        self.clock = HandClock()
        self.hop = hop
        self.events: list[Event] = []
        self.table = table or MemoryTables(self.clock).table("callout")
        self.callout = self.restarted()

    def restarted(self) -> Callout:
        return Callout(self.table, self.hop, self.events.append, self.clock)

    async def ask(self, whom: ForwardPath = ANN, lane: LaneSpec = LANE) -> str:
        reply = await self.callout.ask(lane, whom)
        return "yes" if reply is None else f"{reply.code} {reply.enhanced}"


@pytest.fixture
def hop() -> Hop:
    return Hop()


async def test_a_mailbox_that_exists_is_asked_about_once_a_day(hop: Hop) -> None:
    scene = Scene(hop)
    assert not scene.callout.is_known(ANN)
    assert await scene.ask() == "yes"
    assert scene.callout.is_known(ANN)
    scene.clock.now += DAY - 1
    assert await scene.ask() == "yes"
    assert len(hop.asked) == 1
    scene.clock.now += 2
    assert not scene.callout.is_known(ANN)
    assert await scene.ask() == "yes"
    assert len(hop.asked) == 2


async def test_a_refusal_is_remembered_for_a_quarter_of_an_hour(hop: Hop) -> None:
    scene = Scene(hop)
    hop.answer = NO
    for _ in range(3):
        assert await scene.ask() == "550 5.1.1"
    assert not scene.callout.is_known(ANN)
    assert len(hop.asked) == 1
    hop.answer = YES
    scene.clock.now += 15 * 60
    assert await scene.ask() == "yes"


async def test_it_outlives_a_restart(hop: Hop) -> None:
    scene = Scene(hop)
    await scene.ask()
    scene.callout = scene.restarted()
    assert await scene.ask() == "yes"
    assert len(hop.asked) == 1


async def test_another_workers_answer_counts(hop: Hop) -> None:
    clock = HandClock()
    async with SqliteTables(":memory:", inline, clock) as tables:
        scene = Scene(hop, tables.table("callout"))
        scene.clock = clock
        scene.callout = scene.restarted()
        other = scene.restarted()
        await scene.ask()
        clock.now += DAY + 1
        assert await other.ask(LANE, ANN) is None  # asks again
        assert await scene.ask() == "yes"  # and need not
        assert len(hop.asked) == 2


@pytest.mark.parametrize("trouble", [LATER, ProbeFailed("connection refused")])
async def test_while_the_hop_is_no_help_what_existed_still_does(
    hop: Hop, trouble: Reply | Exception
) -> None:
    scene = Scene(hop)
    await scene.ask()
    hop.answer = trouble
    scene.clock.now += 2 * DAY
    assert await scene.ask() == "yes"
    assert await scene.ask(to("new@example.com")) == "451 4.4.3"
    scene.clock.now += 5 * DAY
    assert await scene.ask() == "451 4.4.3"


async def test_a_mailbox_that_is_gone_is_gone(hop: Hop) -> None:
    scene = Scene(hop)
    await scene.ask()
    hop.answer = NO
    scene.clock.now += DAY + 1
    assert await scene.ask() == "550 5.1.1"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Reply(550, "", "unknown"), "550 5.1.1"),
        (Reply(550, "5.1.10", "no mail here"), "550 5.1.10"),
        # A full mailbox is not an unknown one: lists would drop the subscriber.
        (Reply(552, "5.2.2", "over quota"), "550 5.2.2"),
        (Reply(550, "5.4.1", "Recipient address rejected"), "550 5.1.1"),
        # It is no proof that nobody lives there: lists would drop the subscriber.
        (Reply(554, "5.7.1", "Client host blocked"), "451 4.4.3"),
        (Reply(553, "5.6.7", "needs SMTPUTF8"), "550 5.6.7"),
        (Reply(554, "5.4.6", "leads back to us"), "451 4.4.3"),
        (Reply(554, "", "no such user"), "550 5.1.1"),
        # What the hop has against our commands, or us, says nothing of the mailbox.
        (Reply(530, "5.7.0", "Must issue a STARTTLS command first"), "451 4.4.3"),
        (Reply(503, "5.5.1", "HELO first"), "451 4.4.3"),
        (Reply(521, "", "no mail here"), "451 4.4.3"),
        (Reply(552, "", "too many"), "451 4.4.3"),
        (Reply(550, "5.1.8", "bad sender"), "451 4.4.3"),
        (Reply(251, "2.1.5", "will forward"), "yes"),
        (Reply(354, "", "nonsense"), "451 4.4.3"),
    ],
)
async def test_what_the_sender_is_told(hop: Hop, said: Reply, told: str) -> None:
    hop.answer = said
    scene = Scene(hop)
    assert await scene.ask() == told
    assert await scene.ask() == told


async def test_a_hop_that_objects_to_us_is_told_of_once_and_asked_again(hop: Hop) -> None:
    scene = Scene(hop)
    hop.answer = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
    for number in range(3):
        assert await scene.ask(to(f"u{number}@example.com")) == "451 4.4.3"
    assert len(hop.asked) == 3
    (trouble,) = [event for event in scene.events if isinstance(event, Trouble)]
    assert "STARTTLS" in trouble.detail
    hop.answer = YES
    assert await scene.ask(to("u0@example.com")) == "yes"


async def test_a_lane_that_is_down_is_left_alone_for_a_while(
    hop: Hop, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(hop)
    hop.answer = ProbeFailed("connection refused")
    for number in range(10):
        assert await scene.ask(to(f"u{number}@example.com")) == "451 4.4.3"
    assert len(hop.asked) == 1
    assert [event.detail for event in scene.events if isinstance(event, Trouble)] == [
        "connection refused"
    ]
    hop.answer = YES
    assert await scene.ask(lane=OTHER) == "yes"  # another lane is not concerned
    await trio.sleep(31)
    assert await scene.ask(to("u0@example.com")) == "yes"
    assert await scene.ask(to("u1@example.com")) == "yes"


async def test_a_hop_that_hangs_costs_a_session_half_a_minute(
    hop: Hop, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(hop)
    hop.takes = 1e9
    started = trio.current_time()
    assert await scene.ask() == "451 4.4.3"
    assert trio.current_time() - started <= 30
    assert len(scene.events) == 1


async def test_simultaneous_questions_are_one(
    hop: Hop, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(hop)
    hop.takes = 1
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(scene.ask)
    assert hop.asked == ["ann@example.com"]


async def test_if_who_asks_is_cancelled_the_next_one_asks(
    hop: Hop, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(hop)
    hop.takes = 5
    answers: list[str] = []

    async def ask(patience: float) -> None:
        with trio.move_on_after(patience):
            answers.append(await scene.ask())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, 20)
        nursery.start_soon(ask, 20)
    assert answers == ["yes", "yes"]
    assert len(hop.asked) == 2


async def test_a_dictionary_attack_is_not_passed_on_at_once(
    hop: Hop, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(hop)
    hop.takes = 1
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(scene.ask, to(f"u{number}@example.com"))
    assert hop.most == 50
    assert scene.events == []


async def test_without_its_table_it_asks_and_complains_once(hop: Hop) -> None:
    scene = Scene(hop, BrokenTable())
    assert await scene.ask() == "yes"
    assert await scene.ask(to("bob@example.com")) == "yes"
    assert [event.detail for event in scene.events if isinstance(event, Trouble)] == [
        "disk on fire"
    ]


async def test_a_domains_case_does_not_make_another_mailbox(hop: Hop) -> None:
    scene = Scene(hop)
    await scene.ask(to("ann@EXAMPLE.com"))
    assert scene.callout.is_known(ANN)
    # The local part is the hop's to compare (RFC 5321 section 2.4).
    assert not scene.callout.is_known(to("Ann@example.com"))
