"""What a session does with clients that go, policies that do not let go, and time that passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from edgerelay.net.transport import TransportError
from edgerelay.observe.events import (
    MessageAccepted,
    MessageDiscarded,
    PolicyFailed,
    PolicyObserved,
    RecipientRefused,
    SessionEnded,
    Trouble,
)
from edgerelay.pipeline import Mode, OnError
from edgerelay.policy import (
    CONTINUE,
    AuthenticationResult,
    Defer,
    Discard,
    Evidence,
    ForwardPath,
    Hold,
    Mailbox,
    MailTransaction,
    Message,
    MessageVerdict,
    PerRecipient,
    Reject,
    Reply,
    RouteTo,
    Tag,
)
from edgerelay.spool.api import REFUSED_LANE
from edgerelay.testing.cancel import cancel_at_every_checkpoint
from edgerelay.testing.memory_transport import MemoryTransport, memory_transport_pair
from tests.unit.edge.policies import Hook, policy, says

World = Any  # tests/unit/edge/conftest.py

REJECT = Reject(Reply(550, "5.7.1", "Not here"))
DEFER = Defer(Reply(451, "4.7.1", "Come again"))
BOB, CAT = (ForwardPath(Mailbox(name, "example.org")) for name in ("b", "c"))
LARGE = "Subject: x\r\n\r\n" + "0123456789abcde\r\n" * 20_000


class Work:
    """A hook that takes a while, and knows how many of it are under way."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.going_on = 0
        self.finished = 0

    async def __call__(self, *_: object) -> MessageVerdict:
        with self.counted():
            await trio.sleep(self.seconds)
            self.finished += 1
        return CONTINUE

    @contextmanager
    def counted(self) -> Iterator[None]:
        self.going_on += 1
        try:
            yield
        finally:
            self.going_on -= 1


async def two_recipients(client: Any, content: bytes = b"x\r\n.\r\n") -> str:
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
    await client.say("RCPT TO:<c@example.org>", "DATA")
    for _ in range(4):
        heard = await client.hear()
    assert heard.startswith("354")
    await client.raw(content)
    return str(await client.hear())


# --- clients that go ------------------------------------------------------------------------


@pytest.mark.parametrize("delay_reject", [True, False])
@pytest.mark.parametrize("politely", [True, False])
@pytest.mark.parametrize("stage", ["on_connect", "on_ehlo", "on_mail", "on_rcpt", "on_message"])
async def test_the_work_for_a_client_ends_soon_after_it_has_gone(
    autojump_clock: MockClock, world: World, stage: str, politely: bool, delay_reject: bool
) -> None:
    work = Work(60)
    world.set(delay_reject=delay_reject)
    world.police(policy(**{stage: work}), timeout=99)
    client = world.connect()
    await client.say("EHLO client.example")
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    await trio.sleep(1)
    if stage == "on_message":
        await client.raw(b"x\r\n.\r\n")
        await trio.sleep(1)
    assert work.going_on == 1
    if politely:
        await client.transport.aclose()
    else:
        client.transport.abort()
    await trio.sleep(3)
    assert (work.going_on, work.finished) == (0, 0)
    await world.assert_nothing_leaks()
    assert [event.end for event in world.told(SessionEnded)] == ["lost"]
    await trio.sleep(100)
    assert not world.spool.messages


async def test_a_client_that_said_quit_at_once_and_closed_its_half_is_served(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(CONTINUE, after=30)), timeout=99)
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    await client.raw(b"")
    await trio.sleep(1)
    await client.raw(b"x\r\n.\r\nQUIT\r\n")
    await trio.sleep(1)
    client.transport.end_output()
    heard = [await client.hear() for _ in range(5)]
    assert heard[3].startswith("250 2.0.0 Ok: queued")
    assert heard[4].startswith("221")
    assert await client.is_hung_up()


async def test_a_policy_that_clings_to_a_client_that_has_gone_does_not_have_its_mail_taken(
    autojump_clock: MockClock, world: World
) -> None:
    async def clings(*_: object) -> MessageVerdict:
        with suppress(trio.Cancelled):
            await trio.sleep(20)
        return CONTINUE

    world.police(policy(on_message=clings), timeout=99)
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    await trio.sleep(1)
    await client.raw(b"x\r\n.\r\n")
    await trio.sleep(1)
    client.transport.abort()
    await trio.sleep(100)
    assert not world.spool.messages
    assert not world.told(MessageAccepted)
    assert world.told(SessionEnded)[0].end == "lost"


async def test_who_goes_while_the_commit_is_under_way_has_sent_its_mail(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(CONTINUE, after=1)))
    world.spool.commit_takes = 20.0
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    await trio.sleep(1)
    await client.raw(b"x\r\n.\r\n")
    await trio.sleep(5)
    client.transport.abort()
    await trio.sleep(100)
    assert len(world.spool.messages) == len(world.told(MessageAccepted)) == 1


# --- time -----------------------------------------------------------------------------------


async def test_an_answer_that_took_long_still_has_its_time_to_be_sent(
    autojump_clock: MockClock, world: World
) -> None:
    """The deadline of what was waited for before is not that of the reply."""
    world.set(data_timeout=10.0, command_timeout=10.0)
    slow = says(CONTINUE, after=40)
    world.police(policy(on_rcpt=slow, on_message=slow), timeout=60)
    client = world.connect(capacity=8)  # a send has to wait
    await client.dialogue(
        """
        S: 220
        C: EHLO client.example
        S: 250-
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<b@example.org>
        S: 250
        C: DATA
        S: 354
        C: .
        S: 250 2.0.0 Ok: queued
        """
    )
    assert trio.current_time() == 80


async def test_a_slow_greeting_is_said_after_a_handshake_too(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(delay_reject=False)
    world.police(policy(on_connect=says(CONTINUE, after=45)), timeout=60)
    ours, theirs = memory_transport_pair(world.reaper, capacity=4)
    theirs.deadline = trio.current_time() + 30  # as a handshake or a PROXY header leaves it
    world.nursery.start_soon(world.edge.run_session, theirs, world.listener)
    heard = b""
    while not heard.endswith(b"\r\n"):
        heard += await ours.receive()
    assert heard.startswith(b"220")
    ours.abort()


async def test_replies_do_not_wait_for_those_that_take_long(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_rcpt=says(CONTINUE, after=15)))
    client = await world.greeted()
    group = ["MAIL FROM:<a@example.com>"]
    group += [f"RCPT TO:<{name}@example.org>" for name in "bcde"]
    await client.say(*group)
    times = []
    for _ in group:
        assert (await client.hear()).startswith("250")
        times.append(trio.current_time())
    assert times == [15, 15, 30, 45, 60]


async def test_replies_that_take_no_time_are_one_write(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_mail=says(CONTINUE), on_rcpt=says(CONTINUE)))
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    heard = await client.transport.receive()
    assert heard.count(b"\r\n") == 3


# --- policies that do not let go --------------------------------------------------------------


async def shields(*_: object) -> MessageVerdict:
    with trio.CancelScope(shield=True):
        await trio.sleep(600)
    return CONTINUE


async def test_nobody_waits_for_a_policy_to_let_go_to_hear_that_it_is_over(
    autojump_clock: MockClock, world: World
) -> None:
    """The shielded one runs beside the session: its task holds the nursery, not the client."""
    world.set(command_timeout=10.0)
    quick = policy(on_message=says(CONTINUE, after=1))
    world.police(quick, policy(on_message=shields), timeout=5, on_error=OnError.CONTINUE)
    client = await world.greeted()
    assert (await client.send_mail()).startswith("250")
    start = trio.current_time()
    assert (await client.hear()).startswith("421 4.4.2 mx.example.org Timeout")
    assert await client.is_hung_up()
    assert trio.current_time() - start <= 12
    assert world.edge.gauges()["sessions"] == 1
    await trio.sleep(700)
    assert world.edge.gauges()["sessions"] == 0
    assert world.told(SessionEnded)[0].end == "timeout"


async def test_a_place_is_free_as_soon_as_its_client_has_gone(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(connections_per_client=1)
    world.police(policy(on_message=says(CONTINUE, after=60)), mode=Mode.OBSERVE, timeout=99)
    for _ in range(3):
        client = await world.greeted()
        assert (await client.send_mail()).startswith("250")
        await client.dialogue("C: QUIT\nS: 221")
        assert await client.is_hung_up()
    assert trio.current_time() == 0


async def test_a_cancelled_session_with_policies_at_work_says_421(
    autojump_clock: MockClock, world: World
) -> None:
    work = Work(60)
    world.police(policy(on_connect=work), policy(on_mail=work), timeout=99)
    async with trio.open_nursery() as world.nursery:
        client = await world.greeted()
        await client.dialogue("C: MAIL FROM:<a@example.com>\nS: 250")
        await wait_all_tasks_blocked()
        assert work.going_on == 2
        world.nursery.cancel_scope.cancel()
    assert work.going_on == 0
    assert (await client.hear()).startswith("421 4.3.2")
    assert world.told(SessionEnded)[0].end == "shutdown"


def left_open(**scope: Any) -> Hook:
    async def corrupts(*_: object) -> MessageVerdict:
        trio.CancelScope(**scope).__enter__()
        return CONTINUE

    return corrupts


class OddError(BaseException):
    """Of those that `except Exception` does not catch."""


async def raises_oddly(*_: object) -> MessageVerdict:
    raise OddError


async def opens_a_nursery(*_: object) -> MessageVerdict:
    await trio.open_nursery().__aenter__()
    return CONTINUE


BROKEN = {
    "a scope left open": left_open(),
    "a cancelled scope left open": left_open(deadline=-1),
    "a shield left open": left_open(shield=True),
    "a nursery left open": opens_a_nursery,
    "an exception that is no Exception": raises_oddly,
}


@pytest.mark.parametrize("stage", ["on_connect", "on_mail", "on_rcpt", "on_message"])
@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("how", BROKEN)
async def test_whatever_a_policy_breaks_costs_its_session_a_421_at_most(
    autojump_clock: MockClock, world: World, how: str, inline: bool, stage: str
) -> None:
    hook = BROKEN[how]
    first = policy(**{stage: says(CONTINUE, after=0 if inline else 1)})
    world.police(first, policy(**{stage: hook}), on_error=OnError.CONTINUE)
    other = world.connect("192.0.2.2:99")
    client = world.connect()
    await client.say("EHLO client.example")
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    await trio.sleep(2)
    with suppress(TransportError):
        await client.raw(b"x\r\n.\r\nQUIT\r\n")
    heard = []
    while reply := await client.hear():
        heard.append(reply)
    assert heard[-1].startswith(("421 4.3.0", "221", "220"))
    await trio.sleep(100)
    ended = [e.end for e in world.told(SessionEnded) if e.client.startswith("192.0.2.1:")]
    assert ended in (["trouble"], ["quit"])
    if ended == ["trouble"]:
        assert world.told(Trouble)[0].what == "session failed"
        assert heard[-1].startswith("421")
    accepted = [reply for reply in heard if "queued as" in reply]
    assert len(accepted) == len(world.spool.messages)
    if stage != "on_connect":
        await other.dialogue("S: 220\nC: NOOP\nS: 250")


async def test_cleaning_up_while_all_is_cancelled_costs_nobody_else(
    autojump_clock: MockClock, world: World
) -> None:
    """A cancellation from outside and an error of a policy come in one group."""

    async def breaks_at_the_end(*_: object) -> MessageVerdict:
        try:
            await trio.sleep_forever()
        finally:
            raise OddError

    world.police(policy(on_connect=breaks_at_the_end))
    async with trio.open_nursery() as world.nursery:
        client = await world.greeted()
        await wait_all_tasks_blocked()
        world.nursery.cancel_scope.cancel()
    assert (await client.hear()).startswith("421 4.3")


# --- cancelled anywhere ---------------------------------------------------------------------


LINES = [
    b"EHLO client.example\r\n",
    b"MAIL FROM:<a@example.com>\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"RCPT TO:<refused@example.org>\r\n",
    b"DATA\r\n",
    b"Authentication-Results: mx.example.org; spf=pass\r\n\r\nhello\r\n",
    b".\r\n",
    b"QUIT\r\n",
]


async def talk(transport: MemoryTransport) -> bytes:
    heard = b""
    try:
        heard += await transport.receive()
        for line in LINES:
            await transport.send(line)
            heard += await transport.receive() if not line.startswith(b"Auth") else b""
        while data := await transport.receive():
            heard += data
    except TransportError:
        pass
    transport.abort()
    return heard


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("delay_reject", [True, False])
async def test_cancelled_anywhere_policies_stop_and_what_was_committed_was_acknowledged(
    autojump_clock: MockClock, world: World, delay_reject: bool, inside: bool
) -> None:
    work = Work(0.5)

    async def on_rcpt(_: MailTransaction, forward_path: ForwardPath) -> MessageVerdict:
        with work.counted():
            await trio.sleep(0.5)
        return REJECT if forward_path.mailbox.local_part == "refused" else CONTINUE

    every = {"on_connect": work, "on_ehlo": work, "on_mail": work, "on_message": work}
    world.set(delay_reject=delay_reject)
    world.police(
        policy(**every),
        policy(on_rcpt=on_rcpt, on_message=work, has_effects=True),
        policy(on_message=says(Tag(()), after=0.2)),
    )
    world.spool.commit_takes = 1.0
    world.directory.takes = 0.5
    completed = 0

    async def whole_session() -> None:
        nonlocal completed
        world.events.clear()
        world.spool.messages.clear()
        heard = b""

        async def converse(transport: MemoryTransport) -> None:
            nonlocal heard
            with trio.CancelScope(shield=True):
                heard = await talk(transport)

        async with trio.open_nursery() as nursery:
            ours, theirs = memory_transport_pair(world.reaper)
            nursery.start_soon(converse, ours)
            try:
                await world.edge.run_session(theirs, world.listener)
            finally:
                with trio.CancelScope(shield=True):
                    theirs.abort()
                    assert work.going_on == 0
                    await world.assert_nothing_leaks()
                    (ended,) = world.told(SessionEnded)
                    assert len(world.told(MessageAccepted)) == len(world.spool.messages)
                    assert ended.accepted == len(world.spool.messages)
                    await trio.sleep(1)
                    assert heard.count(b"queued as") == len(world.spool.messages)
                    completed += len(world.spool.messages)

    assert await cancel_at_every_checkpoint(whole_session, inside=inside, family=True) > 30
    assert completed > 0


# --- what a refusal does to a session -----------------------------------------------------------


async def test_a_421_of_a_policy_closes_the_channel(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_rcpt=says(Defer(Reply(421, "4.7.0", "Go away")))))
    client = await world.greeted()
    await client.dialogue(
        """
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<b@example.org>
        S: 421 4.7.0 Go away
        """
    )
    assert await client.is_hung_up()
    assert world.told(SessionEnded)[0].end == "refused"


async def test_a_refused_ehlo_ends_the_transaction_and_nothing_else(
    autojump_clock: MockClock, world: World
) -> None:
    async def on_ehlo(connection: Any) -> MessageVerdict:
        return REJECT if connection.session.helo == "bad.example" else CONTINUE

    world.set(delay_reject=False)
    world.police(policy(on_ehlo=on_ehlo))
    client = await world.greeted()
    await client.dialogue(
        """
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<b@example.org>
        S: 250
        C: EHLO bad.example
        S: 550 5.7.1 Not here
        C: RCPT TO:<c@example.org>
        S: 503 5.5.1 No mail transaction is open
        C: DATA
        S: 503 5.5.1 No mail transaction is open
        C: RSET
        S: 250
        C: MAIL FROM:<a@example.com>
        S: 550 5.7.1 Not here
        """
    )
    await client.say("EHLO good.example")
    assert (await client.hear()).startswith("250-")
    assert (await client.send_mail()).startswith("250")


async def test_policies_rejections_spend_the_budget_of_errors(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(errors_per_session=2)
    world.police(policy(on_rcpt=says(REJECT)))
    client = await world.greeted()
    await client.dialogue(
        """
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<b@example.org>
        S: 550
        C: RCPT TO:<b@example.org>
        S: 550
        C: RCPT TO:<b@example.org>
        S: 421 4.7.0
        """
    )
    assert await client.is_hung_up()


async def test_a_recipient_that_was_accepted_is_not_asked_about_again(
    autojump_clock: MockClock, world: World
) -> None:
    work = Work(0)
    world.police(policy(on_rcpt=work))
    client = await world.greeted()
    await client.dialogue(
        """
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<b@example.org>
        S: 250
        C: RCPT TO:<b@EXAMPLE.org>
        S: 250
        """
    )
    assert work.finished == 1


# --- when recipients disagree ---------------------------------------------------------------


@pytest.mark.parametrize(("other", "reply"), [(REJECT, "550 5.7.1"), (DEFER, "451 4.7.1")])
async def test_dropped_for_one_and_refused_for_the_other_is_refused(
    autojump_clock: MockClock, world: World, other: Reject | Defer, reply: str
) -> None:
    """Nobody is to have it, so nothing is stored: no report to a forged sender, no delivery
    of what was to come again."""
    world.police(policy(on_message=says(PerRecipient({BOB: Discard("worm"), CAT: other}))))
    client = await world.greeted()
    assert (await two_recipients(client)).startswith(reply)
    assert not world.spool.messages
    assert not world.told(MessageDiscarded)
    (refused,) = world.told(RecipientRefused)
    assert (refused.command, refused.policy) == ("data", "p0")
    await world.assert_no_content()


async def test_dropped_for_one_and_held_for_the_other_is_both(
    autojump_clock: MockClock, world: World
) -> None:
    verdicts = PerRecipient({BOB: Discard("worm"), CAT: Hold("odd")})
    world.police(policy(on_message=says(verdicts)))
    client = await world.greeted()
    assert (await two_recipients(client)).startswith("250")
    (delivery,) = world.spool.messages[0].deliveries
    assert (delivery.recipients[0].forward_path, delivery.reason) == (CAT, "p0: odd")
    (discarded,) = world.told(MessageDiscarded)
    assert discarded.recipients == ["<b@example.org>"]


async def test_what_is_dropped_for_many_is_one_event(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(Discard("a\nworm"))))
    client = await world.greeted()
    assert (await two_recipients(client)).startswith("250")
    (discarded,) = world.told(MessageDiscarded)
    assert discarded.recipients == ["<b@example.org>", "<c@example.org>"]
    assert discarded.reason == "a\\nworm"


async def test_one_lane_is_one_delivery_wherever_its_recipients_came_from(
    autojump_clock: MockClock, world: World
) -> None:
    elsewhere = Tag((RouteTo(("smtp:192.0.2.9",)),))
    world.police(policy(on_message=says(elsewhere)))
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
    await client.say("RCPT TO:<b@example.net>", "DATA")
    for _ in range(4):
        await client.hear()
    await client.raw(b"x\r\n.\r\n")
    assert (await client.hear()).startswith("250")
    (delivery,) = world.spool.messages[0].deliveries
    assert (delivery.lane, len(delivery.recipients)) == ("policy:smtp:192.0.2.9", 2)
    assert delivery.lane != REFUSED_LANE


# --- those who only observe -----------------------------------------------------------------


async def test_an_observer_reads_on_in_a_message_that_was_handed_over(
    autojump_clock: MockClock, world: World
) -> None:
    seen: list[object] = []

    async def reads_late(_: MailTransaction, message: Message) -> MessageVerdict:
        await trio.sleep(1)
        seen.append((message.size, message.body, [piece async for piece in message.chunks()]))
        return REJECT

    world.police(policy(on_message=reads_late), mode=Mode.OBSERVE)
    client = await world.greeted()
    content = "Authentication-Results: mx.example.org; none\r\n\r\nbody\r\n"
    assert (await client.send_mail(content)).startswith("250")
    assert world.spool.contents == [b"\r\nbody\r\n"]
    await trio.sleep(2)
    assert seen == [(len(content), b"body\r\n", [b"body\r\n"])]
    assert len(world.told(PolicyObserved)) == 1


async def test_an_observer_of_a_message_in_a_file_is_cut_off_when_that_is_handed_over(
    autojump_clock: MockClock, world: World
) -> None:
    async def reads_late(_: MailTransaction, message: Message) -> MessageVerdict:
        await trio.sleep(1)
        async for _piece in message.chunks():
            pass
        return REJECT

    world.police(policy(on_message=reads_late), mode=Mode.OBSERVE)
    client = await world.greeted()
    assert (await client.send_mail(LARGE)).startswith("250")
    await trio.sleep(5)
    assert not world.told(PolicyFailed)
    assert world.policies.counts.by_policy() == {}
    world.spool.messages.clear()


async def test_a_large_message_is_read_by_several_at_once(
    autojump_clock: MockClock, world: World
) -> None:
    read: list[int] = []

    async def reads(_: MailTransaction, message: Message) -> MessageVerdict:
        octets = 0
        async for piece in message.chunks():
            octets += len(piece)
            await trio.sleep(0.1)
        read.append(octets)
        return CONTINUE

    world.police(*[policy(on_message=reads) for _ in range(3)])
    client = await world.greeted()
    assert (await client.send_mail(LARGE)).startswith("250")
    assert read == [len(LARGE) - len("Subject: x\r\n\r\n")] * 3


# --- fields -----------------------------------------------------------------------------------


class Spoilt(Evidence):
    @property
    def authentication_results(self) -> tuple[AuthenticationResult, ...]:
        raise LookupError("secret")


class Good(Evidence):
    @property
    def authentication_results(self) -> tuple[AuthenticationResult, ...]:
        return (AuthenticationResult("spf", "pass"),)


async def test_evidence_that_cannot_say_its_result_costs_its_own_result(
    autojump_clock: MockClock, world: World
) -> None:
    async def finds(transaction: MailTransaction) -> MessageVerdict:
        transaction.provide(Spoilt())
        return CONTINUE

    async def finds_too(transaction: MailTransaction) -> MessageVerdict:
        transaction.provide(Good())
        return CONTINUE

    world.police(
        policy(on_mail=finds, provides=(Spoilt,)), policy(on_mail=finds_too, provides=(Good,))
    )
    client = await world.greeted()
    assert (await client.send_mail()).startswith("250")
    prepend = world.spool.messages[0].prepend
    assert prepend.startswith(b"Authentication-Results: mx.example.org; spf=pass\r\nReceived:")
    (failed,) = world.told(PolicyFailed)
    assert (failed.policy, failed.stage, failed.reason) == ("p0", "mail", "LookupError: secret")


@pytest.mark.parametrize("policed", [False, True])
async def test_results_of_our_own_house_stay(
    autojump_clock: MockClock, world: World, policed: bool
) -> None:
    """RFC 8601 section 5: unless it came directly from another trusted MTA."""
    world.set(relay_from=(ip_network("192.0.2.0/24"),))
    if policed:
        world.police(policy(on_message=says(CONTINUE)))
    client = await world.greeted()
    content = "Authentication-Results: mx.example.org; spf=pass\r\n\r\nbody\r\n"
    assert (await client.send_mail(content)).startswith("250")
    assert world.spool.contents == [content.encode()]


async def test_what_was_cut_out_is_not_in_the_size(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    content = "Authentication-Results: mx.example.org; spf=pass\r\n\r\nbody\r\n"
    assert (await client.send_mail(content)).startswith("250")
    (accepted,) = world.told(MessageAccepted)
    assert accepted.size == len("\r\nbody\r\n")


async def test_a_disk_that_is_full_while_a_field_is_cut_out_is_452(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    for _ in range(3):
        await client.hear()
    forged = b"Authentication-Results: mx.example.org; spf=pass\r\n"
    await client.raw(forged + LARGE.encode())
    await wait_all_tasks_blocked()
    world.disk.room = 100_000
    await client.raw(b".\r\n")
    assert (await client.hear()).startswith("452 4.3.1")
    assert not world.spool.messages
    assert world.disk.files == {}
    await world.assert_no_content()
    world.disk.room = 1 << 40
    assert (await client.send_mail()).startswith("250")
