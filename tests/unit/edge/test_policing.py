"""What a client hears, and what becomes of its mail, when policies have a say."""

from __future__ import annotations

import gc
import ssl
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from edgerelay.edge.session import Session as EdgeSession
from edgerelay.edge.settings import ListenerSettings, ListenerTls
from edgerelay.net.tls import ServerTls
from edgerelay.observe.events import (
    MessageAccepted,
    MessageDiscarded,
    PolicyFailed,
    PolicyObserved,
    RecipientRefused,
    SessionEnded,
)
from edgerelay.pipeline import Asking, Mode, OnError
from edgerelay.policy import (
    CONTINUE,
    Accept,
    AddScore,
    AuthenticationResult,
    Connection,
    Decisive,
    Defer,
    Discard,
    Evidence,
    ForwardPath,
    HeaderField,
    Hold,
    Mailbox,
    MailTransaction,
    Message,
    MessageVerdict,
    PerRecipient,
    Policy,
    Prepend,
    Reject,
    Remove,
    Reply,
    RouteTo,
    Session,
    Tag,
    Verdict,
)
from edgerelay.spool.api import REFUSED_LANE, Status
from edgerelay.testing.memory_transport import MemoryTransport
from tests.unit.edge.policies import policy, says

World = Any  # tests/unit/edge/conftest.py

REJECT = Reject(Reply(550, "5.7.23", "Not from there"))
DEFER = Defer(Reply(451, "4.7.1", "Come again"))
BOB, CAT = (ForwardPath(Mailbox(name, "example.org")) for name in ("b", "c"))


@dataclass(frozen=True, slots=True)
class Found(Evidence):
    domain: str

    @property
    def authentication_results(self) -> tuple[AuthenticationResult, ...]:
        return (AuthenticationResult("spf", "pass", (("smtp.mailfrom", self.domain),)),)


@pytest.mark.parametrize("stage", ["on_connect", "on_ehlo", "on_mail", "on_rcpt"])
async def test_what_is_refused_early_is_said_at_rcpt(
    autojump_clock: MockClock, world: World, stage: str
) -> None:
    world.police(policy(**{stage: says(REJECT, after=3)}))
    client = await world.greeted()
    await client.dialogue(
        """
        C: MAIL FROM:<a@example.com>
        S: 250 2.1.0
        C: RCPT TO:<b@example.org>
        S: 550 5.7.23 Not from there \\(s=
        C: QUIT
        S: 221
        """
    )
    assert trio.current_time() == 3
    (refused,) = world.told(RecipientRefused)
    assert (refused.policy, refused.command) == ("p0", "rcpt")
    assert world.policies.counts.by_policy() == {"p0": {"reject": 1}}


async def test_without_delay_reject_each_command_hears_its_own(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(delay_reject=False)
    world.police(policy(on_ehlo=says(DEFER), on_mail=says(REJECT)))
    client = world.connect()
    await client.dialogue(
        """
        S: 220
        C: EHLO client.example
        S: 451 4.7.1 Come again
        C: MAIL FROM:<a@example.com>
        S: 503
        C: QUIT
        S: 221
        """
    )


async def test_a_client_refused_at_the_door_may_only_quit(
    autojump_clock: MockClock, world: World
) -> None:
    """RFC 5321 section 3.1: the server waits for QUIT and answers 503 to all else."""
    world.set(delay_reject=False)
    world.police(policy(on_connect=says(REJECT)))
    client = world.connect()
    await client.dialogue(
        """
        S: 554 5.7.23 mx.example.org Not from there \\(s=
        C: EHLO client.example
        S: 503 5.5.1
        C: QUIT
        S: 221
        """
    )
    assert await client.is_hung_up()


async def test_a_client_deferred_at_the_door_hears_421(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(delay_reject=False)
    world.police(policy(on_connect=says(DEFER)))
    client = world.connect()
    assert (await client.hear()).startswith("421 4.7.1 mx.example.org Come again")
    assert await client.is_hung_up()


async def test_policies_are_not_asked_of_recipients_that_are_refused_anyway(
    autojump_clock: MockClock, world: World
) -> None:
    asked: list[str] = []

    async def on_rcpt(_: MailTransaction, forward_path: ForwardPath) -> MessageVerdict:
        asked.append(str(forward_path))
        return CONTINUE

    world.police(policy(on_rcpt=on_rcpt, has_effects=True))
    client = await world.greeted()
    await client.dialogue(
        """
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<nobody@example.org>
        S: 550 5.1.1
        C: RCPT TO:<b@elsewhere.example>
        S: 550 5.7.1
        C: RCPT TO:<b@example.org>
        S: 250
        """
    )
    assert asked == ["<b@example.org>"]


async def test_deferrals_of_policies_do_not_spend_the_budget_of_errors(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(errors_per_session=2)
    world.police(policy(on_rcpt=says(DEFER)))
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>")
    await client.hear()
    for _ in range(10):
        await client.say("RCPT TO:<b@example.org>")
        assert (await client.hear()).startswith("451 4.7.1")


@pytest.mark.parametrize(
    ("verdict", "reply"),
    [(REJECT, "550 5.7.23"), (DEFER, "451 4.7.1"), (CONTINUE, "250"), (Accept(), "250")],
)
async def test_the_final_dot_hears_what_policies_say_of_the_message(
    autojump_clock: MockClock, world: World, verdict: MessageVerdict, reply: str
) -> None:
    world.police(policy(on_message=says(verdict, after=2)))
    client = await world.greeted()
    heard = await client.send_mail()
    assert heard.startswith(reply)
    assert len(world.spool.messages) == reply.startswith("2")
    await world.assert_no_content()


async def test_a_held_message_is_committed_and_stays(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(Hold("looks odd"))))
    client = await world.greeted()
    assert (await client.send_mail()).startswith("250 2.0.0")
    (delivery,) = world.spool.messages[0].deliveries
    assert (delivery.status, delivery.reason) == (Status.HELD, "p0: looks odd")
    (accepted,) = world.told(MessageAccepted)
    assert accepted.held == "p0: looks odd"


async def test_a_discarded_message_is_answered_and_dropped(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(Discard("a known worm"))))
    client = await world.greeted()
    assert (await client.send_mail()).startswith("250 2.0.0 Ok: queued as ")
    assert not world.spool.messages
    (discarded,) = world.told(MessageDiscarded)
    assert (discarded.policy, discarded.reason) == ("p0", "a known worm")
    assert not world.told(MessageAccepted)
    await world.assert_no_content()


async def test_what_rcpt_decided_holds_for_that_recipient_alone(
    autojump_clock: MockClock, world: World
) -> None:
    async def on_rcpt(_: MailTransaction, forward_path: ForwardPath) -> MessageVerdict:
        return Hold("new") if forward_path == CAT else CONTINUE

    asked: list[tuple[ForwardPath, ...]] = []

    async def on_message(transaction: MailTransaction, _: Message) -> MessageVerdict:
        asked.append(transaction.forward_paths)
        return CONTINUE

    world.police(policy(on_rcpt=on_rcpt, on_message=on_message))
    client = await world.greeted()
    await say_two_recipients(client)
    assert (await client.hear()).startswith("250")
    deliveries = world.spool.messages[0].deliveries
    assert {(str(d.recipients[0].forward_path), d.status, d.reason) for d in deliveries} == {
        ("<b@example.org>", Status.QUEUED, ""),
        ("<c@example.org>", Status.HELD, "p0: new"),
    }
    assert asked == [(BOB,)]


async def say_two_recipients(client: Any) -> None:
    await client.dialogue(
        """
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<b@example.org>
        S: 250
        C: RCPT TO:<c@example.org>
        S: 250
        C: DATA
        S: 354
        """
    )
    await client.raw(b"Subject: x\r\n\r\nhello\r\n.\r\n")


async def test_when_recipients_disagree_after_data_some_hear_of_it_by_report(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(PerRecipient({CAT: REJECT}))))
    client = await world.greeted()
    await say_two_recipients(client)
    assert (await client.hear()).startswith("250")
    refused, taken = sorted(world.spool.messages[0].deliveries, key=lambda d: d.reason)[::-1]
    assert (taken.lane, taken.recipients[0].forward_path) == ("mx:example.org", BOB)
    assert (refused.lane, refused.recipients[0].forward_path) == (REFUSED_LANE, CAT)
    assert refused.reason == "550 5.7.23 Not from there"


async def test_a_recipient_deferred_after_data_is_spooled_when_another_is_taken(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(PerRecipient({CAT: DEFER}))))
    client = await world.greeted()
    await say_two_recipients(client)
    assert (await client.hear()).startswith("250")
    (delivery,) = world.spool.messages[0].deliveries
    assert [to.forward_path for to in delivery.recipients] == [BOB, CAT]


async def say_with_prdr(client: Any, *recipients: str) -> list[str]:
    await client.dialogue("C: MAIL FROM:<a@example.com> PRDR\nS: 250")
    for recipient in recipients:
        await client.dialogue(f"C: RCPT TO:<{recipient}>\nS: 250")
    await client.dialogue("C: DATA\nS: 354")
    await client.raw(b"Subject: x\r\n\r\nhello\r\n.\r\n")
    replies = [await client.hear()]
    if replies[0].startswith("353"):
        replies += [await client.hear() for _ in range(len(recipients) + 1)]
    return replies


@pytest.mark.parametrize(
    ("verdict", "wanted"), [(REJECT, "550 5.7.23 Not from there (s="), (DEFER, "451 4.7.1 Come")]
)
async def test_with_prdr_each_recipient_hears_its_own_in_the_order_of_rcpt(
    autojump_clock: MockClock, world: World, verdict: Decisive, wanted: str
) -> None:
    world.police(policy(on_message=says(PerRecipient({CAT: verdict}))))
    client = await world.greeted()
    told = await say_with_prdr(client, "c@example.org", "b@example.org", "c@EXAMPLE.org")
    assert told[0].startswith("353 ")
    assert [reply[:9] for reply in told[1:]] == [wanted[:9], "250 2.0.0", wanted[:9], "250 2.0.0"]
    assert told[1].startswith(wanted)
    assert "queued as" in told[-1]
    (delivery,) = world.spool.messages[0].deliveries
    assert [to.forward_path for to in delivery.recipients] == [BOB]
    (refused,) = world.told(RecipientRefused)
    assert (refused.command, refused.forward_path) == ("data", "<c@example.org>")
    (accepted,) = world.told(MessageAccepted)
    assert accepted.recipients == 1
    assert (await client.send_mail()).startswith("250")  # the next has nothing of it


async def test_with_prdr_a_fate_that_all_share_is_one_reply(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(PerRecipient({BOB: REJECT, CAT: REJECT}))))
    client = await world.greeted()
    assert (await say_with_prdr(client, "b@example.org"))[0].startswith("550 5.7.23")
    told = await say_with_prdr(client, "b@example.org", "c@example.org")
    assert told[0].startswith("550 5.7.23")
    assert (await say_with_prdr(client, "d@example.org", "e@example.org"))[0].startswith("250 ")


@pytest.mark.parametrize(
    ("for_bob", "for_cat", "told"),
    [
        (REJECT, DEFER, ["353", "550", "451", "451"]),
        (DEFER, REJECT, ["353", "451", "550", "451"]),
        (REJECT, Reject(Reply(554, "5.7.1", "Nor here")), ["353", "550", "554", "550"]),
        (REJECT, Discard("spam"), ["353", "550", "250", "250"]),
    ],
)
async def test_with_prdr_nobody_has_it_but_each_hears_why(
    autojump_clock: MockClock,
    world: World,
    for_bob: Decisive,
    for_cat: Decisive,
    told: list[str],
) -> None:
    world.police(policy(on_message=says(PerRecipient({BOB: for_bob, CAT: for_cat}))))
    client = await world.greeted()
    replies = await say_with_prdr(client, "b@example.org", "c@example.org")
    assert [reply[:3] for reply in replies] == told
    assert not world.spool.messages
    assert not world.told(MessageAccepted)
    assert len(world.told(MessageDiscarded)) == told.count("250") // 2
    await client.dialogue("C: NOOP\nS: 250")


async def test_with_prdr_no_recipient_alone_can_end_the_session(
    autojump_clock: MockClock, world: World
) -> None:
    going = Defer(Reply(421, "4.7.0", "Go away"))
    world.police(policy(on_message=says(PerRecipient({BOB: going}))))
    client = await world.greeted()
    told = await say_with_prdr(client, "b@example.org", "c@example.org")
    assert [reply[:3] for reply in told] == ["353", "451", "250", "250"]
    await client.dialogue("C: NOOP\nS: 250")


async def test_refused_for_all_but_differently_the_client_may_try_again(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(PerRecipient({BOB: REJECT, CAT: DEFER}))))
    client = await world.greeted()
    await say_two_recipients(client)
    assert (await client.hear()).startswith("451 4.7.1")
    assert not world.spool.messages


async def test_fields_come_in_their_order_above_the_message_as_it_came(
    autojump_clock: MockClock, world: World
) -> None:
    async def spf(transaction: MailTransaction) -> MessageVerdict:
        transaction.provide(Found("a@example.com"))
        return Tag((Prepend("X-First", "1"),))

    async def on_message(_: MailTransaction, message: Message) -> MessageVerdict:
        (odd,) = message.named("x-odd")
        return Tag((Prepend("X-Second", "2"), Remove(odd), AddScore(1.5, "odd")))

    world.police(policy(on_mail=spf, provides=(Found,)), policy(on_message=on_message))
    client = await world.greeted()
    content = "X-Odd: yes\r\n folded\r\nSubject: =?q?=\r\n\r\nX-Odd: body\r\n"
    assert (await client.send_mail(content)).startswith("250")
    assert world.spool.contents == [b"Subject: =?q?=\r\n\r\nX-Odd: body\r\n"]
    names = [line.split(b":")[0] for line in world.spool.messages[0].prepend.split(b"\r\n")]
    assert names[:4] == [b"Authentication-Results", b"X-Second", b"X-First", b"Received"]
    assert world.spool.messages[0].prepend.startswith(
        b"Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=a@example.com\r\n"
    )
    (accepted,) = world.told(MessageAccepted)
    assert accepted.score == 1.5


FORGED = (
    "Received: from x by y\r\n"
    "AUTHENTICATION-results: (c) mx.Example.org 1;\r\n spf=pass\r\n"
    "Authentication-Results: other.example; spf=pass\r\n"
    "\r\nbody\r\n"
)
WITHOUT = FORGED.replace("AUTHENTICATION-results: (c) mx.Example.org 1;\r\n spf=pass\r\n", "")


@pytest.mark.parametrize("policed", [False, True])
async def test_a_forged_result_with_our_name_is_cut_out(
    autojump_clock: MockClock, world: World, policed: bool
) -> None:
    if policed:
        world.police(policy(on_message=says(CONTINUE)))
    client = await world.greeted()
    assert (await client.send_mail(FORGED)).startswith("250")
    assert world.spool.contents == [WITHOUT.encode()]


async def test_a_forged_result_is_cut_out_of_a_content_that_is_a_file(
    autojump_clock: MockClock, world: World
) -> None:
    body = "0123456789abcde\r\n" * 40_000
    client = await world.greeted()
    assert (await client.send_mail(FORGED + body)).startswith("250")
    (name,) = world.disk.names()
    assert world.disk.read(name, 0, 10**7) == (WITHOUT + body).encode()
    await world.assert_no_content()


async def test_mail_may_be_routed_elsewhere(autojump_clock: MockClock, world: World) -> None:
    world.police(policy(on_message=says(Tag((RouteTo(("smtp://192.0.2.9:25",)),)))))
    client = await world.greeted()
    assert (await client.send_mail()).startswith("250")
    assert world.spool.messages[0].deliveries[0].lane == "policy:smtp://192.0.2.9:25"


async def test_an_observer_has_no_say_but_is_counted(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(REJECT)), mode=Mode.OBSERVE)
    client = await world.greeted()
    assert (await client.send_mail()).startswith("250")
    await client.dialogue("C: QUIT\nS: 221")
    await wait_all_tasks_blocked()
    assert world.policies.counts.by_policy() == {"p0": {"disagree": 1}}
    (observed,) = world.told(PolicyObserved)
    assert (observed.policy, observed.verdict) == ("p0", "reject: 550 5.7.23 Not from there")


async def test_a_slow_observer_keeps_nobody_waiting(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(REJECT, after=60)), mode=Mode.OBSERVE, timeout=99)
    client = await world.greeted()
    assert (await client.send_mail()).startswith("250")
    await client.dialogue("C: QUIT\nS: 221")
    assert await client.is_hung_up()
    assert trio.current_time() == 0
    assert world.edge._shared.limits.report() == {}  # nor does it keep the client's place
    await trio.sleep(6)
    assert world.edge.gauges()["sessions"] == 0


async def hangs(*_: object) -> MessageVerdict:
    await trio.sleep_forever()
    raise AssertionError


async def raises(*_: object) -> MessageVerdict:
    raise OSError("/etc/secret: no such file")


async def needs_it(transaction: MailTransaction, *_: object) -> MessageVerdict:
    await transaction.evidence(Found)
    return CONTINUE


def awkward(on_error: OnError) -> list[Policy[None]]:
    return [
        policy(on_message=says(CONTINUE)),
        policy(on_message=hangs, provides=(Found,)),
        policy(on_message=raises),
        policy(on_message=needs_it, needs=(Found,)),
        policy(on_message=says(CONTINUE, after=1)),
    ]


@pytest.mark.parametrize(
    ("on_error", "reply"), [(OnError.CONTINUE, "250"), (OnError.DEFER, "451 4.3.0")]
)
async def test_awkward_policies_cost_their_own_answers_alone(
    autojump_clock: MockClock, world: World, on_error: OnError, reply: str
) -> None:
    world.police(*awkward(on_error), on_error=on_error, timeout=20)
    client = await world.greeted()
    heard = await client.send_mail()
    assert heard.startswith(reply)
    assert "secret" not in heard
    assert trio.current_time() == 20
    failed = {event.policy: event.reason for event in world.told(PolicyFailed)}
    assert failed["p1"] == "timeout"
    if on_error is OnError.CONTINUE:
        assert failed["p2"] == "OSError: /etc/secret: no such file"
        assert "p3" in failed


async def test_a_policy_that_wants_to_end_the_program_ends_nothing(
    autojump_clock: MockClock, world: World
) -> None:
    async def exits(*_: object) -> MessageVerdict:
        raise SystemExit(1)

    world.police(policy(on_rcpt=exits), on_error=OnError.CONTINUE)
    client = await world.greeted()
    assert (await client.send_mail()).startswith("250")
    (failed,) = world.told(PolicyFailed)
    assert failed.reason == "SystemExit: 1"


async def test_a_thousand_such_sessions_leave_no_task_and_no_memory(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(*awkward(OnError.CONTINUE), on_error=OnError.CONTINUE, timeout=30)
    world.set(decision_timeout=10.0, connections_per_client=10_000, rate_per_client=None)
    tasks = trio.lowlevel.current_statistics().tasks_living

    async def one() -> None:
        client = await world.greeted()
        before = trio.current_time()
        assert (await client.send_mail()).startswith("250")
        assert trio.current_time() - before <= 10
        await client.dialogue("C: QUIT\nS: 221")

    for _ in range(10):
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(one)
    await trio.sleep(10)
    assert len(world.spool.messages) == 1000
    assert trio.lowlevel.current_statistics().tasks_living <= tasks
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, EdgeSession | Asking)]


async def corrupts(*_: object) -> MessageVerdict:
    trio.CancelScope().__enter__()
    return CONTINUE


@pytest.mark.parametrize("first", [0, 1])
async def test_a_policy_that_breaks_its_nursery_costs_its_session_a_421(
    autojump_clock: MockClock, world: World, first: float
) -> None:
    world.police(policy(on_message=says(CONTINUE, first)), policy(on_message=corrupts))
    client, other = await world.greeted(), await world.greeted("192.0.2.2:99")
    assert (await client.send_mail()).startswith("421 4.3.0")
    assert await client.is_hung_up()
    assert not world.spool.messages
    await other.dialogue("C: NOOP\nS: 250")


async def shields(*_: object) -> MessageVerdict:
    with trio.CancelScope(shield=True):
        await trio.sleep(600)
    return CONTINUE


async def test_a_policy_that_no_cancellation_reaches_costs_one_session_a_421(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=shields), timeout=5, on_error=OnError.CONTINUE)
    client = await world.greeted()
    assert (await client.send_mail()).startswith("421 4.3.0")
    assert 5 < trio.current_time() <= 7
    again = await world.greeted()
    assert (await again.send_mail()).startswith("250")
    assert trio.current_time() <= 12
    await trio.sleep(700)
    assert len(world.spool.messages) == 1  # that of the 421 is not taken when the policy returns


async def test_what_was_answered_421_is_not_taken_while_the_socket_lingers(
    autojump_clock: MockClock, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = MemoryTransport.aclose

    async def lingering(self: MemoryTransport, *, linger: bool = True) -> None:
        if linger:
            await trio.sleep(2)  # as a socket does, until the peer has closed
        await closing(self, linger=linger)

    async def late(*_: object) -> MessageVerdict:
        with trio.CancelScope(shield=True):
            await trio.sleep(7)
        return CONTINUE

    monkeypatch.setattr(MemoryTransport, "aclose", lingering)
    world.police(policy(on_message=late), timeout=5, on_error=OnError.CONTINUE)
    client = await world.greeted()
    assert (await client.send_mail()).startswith("421 4.3.0")
    await trio.sleep(20)
    assert not world.spool.messages
    assert not world.told(MessageAccepted)


async def test_a_million_fields_are_refused_before_any_is_looked_at(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    content = "Authentication-Results: x\r\n" + "a:\r\n" * 10_000 + "\r\nhello\r\n"
    assert (await client.send_mail(content)).startswith("552 5.3.4")
    folded = "Authentication-Results: x\r\n" + " a\r\n" * 10_000 + "\r\nhello\r\n"
    assert (await client.send_mail(folded)).startswith("250")


async def test_a_client_that_was_refused_at_the_door_gets_no_handshake(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(delay_reject=False)
    world.listener = ListenerSettings(
        "test",
        tls=ListenerTls.STARTTLS,
        certificate=ServerTls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)),
        xclient_from=(ip_network("192.0.2.0/24"),),
    )

    async def only_proxies(connection: Connection) -> Verdict:
        return CONTINUE if str(connection.session.client) == "192.0.2.1" else REJECT

    world.police(policy(on_connect=only_proxies))
    client = await world.greeted()
    await client.dialogue(
        "C: XCLIENT ADDR=198.51.100.1\nS: 554\nC: STARTTLS\nS: 503\nC: QUIT\nS: 221"
    )


@pytest.mark.parametrize("stage", ["on_connect", "on_mail", "on_rcpt", "on_message"])
async def test_who_goes_away_takes_the_policies_work_along(
    autojump_clock: MockClock, world: World, stage: str
) -> None:
    alive: list[int] = []

    async def works(*_: object) -> MessageVerdict:
        alive.append(1)
        try:
            await trio.sleep(10)
        finally:
            alive.pop()
        return CONTINUE

    world.police(policy(**{stage: works}))
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    await client.raw(b"x\r\n.\r\n")
    await wait_all_tasks_blocked()
    client.transport.abort()
    await trio.sleep(11)
    assert not alive
    assert len(world.told(SessionEnded)) == 1


async def test_a_trusted_client_is_told_to_policies(
    autojump_clock: MockClock, world: World
) -> None:
    seen: list[Session] = []

    async def on_mail(transaction: MailTransaction) -> MessageVerdict:
        seen.append(transaction.session)
        return CONTINUE

    world.set(relay_from=(ip_network("192.0.2.0/24"),))
    world.police(policy(on_mail=on_mail))
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
    await client.hear()
    await client.hear()
    (session,) = seen
    assert session.is_trusted
    assert (str(session.client), session.helo, session.is_extended) == (
        "192.0.2.1",
        "client.example",
        True,
    )


async def test_a_header_too_large_to_read_is_refused(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(policy(on_message=says(CONTINUE)))
    client = await world.greeted()
    heard = await client.send_mail("X: 0123456789\r\n" * 300_000)
    assert heard.startswith("552 5.3.4")
    await world.assert_no_content()


async def test_a_field_of_another_message_is_not_cut_out_of_this_one(
    autojump_clock: MockClock, world: World
) -> None:
    kept: list[HeaderField] = []

    async def on_message(_: MailTransaction, message: Message) -> MessageVerdict:
        kept.append(message.fields[0])
        return Tag((Remove(kept[0]),))

    world.police(policy(on_message=on_message))
    client = await world.greeted()
    for content in ("X-One: 1\r\n\r\nbody\r\n", "Subject: two\r\n\r\nbody\r\n"):
        assert (await client.send_mail(content)).startswith("250")
    assert world.spool.contents == [b"\r\nbody\r\n", b"Subject: two\r\n\r\nbody\r\n"]
