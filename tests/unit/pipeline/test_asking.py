"""One test per rule that chance rarely meets."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.mail.envelope import Envelope
from edgerelay.pipeline import (
    Answered,
    Configured,
    Conversation,
    Cut,
    Failed,
    Mode,
    Observed,
    OnError,
    Plan,
    PlanError,
    Watchdog,
)
from edgerelay.pipeline.watchdog import PATIENCE
from edgerelay.policy import (
    CONTINUE,
    Accept,
    Decisive,
    Defer,
    Evidence,
    ForwardPath,
    Mailbox,
    MailTransaction,
    Message,
    MessageVerdict,
    PerRecipient,
    Policy,
    Prepend,
    Reject,
    Reply,
    Services,
    Session,
    Tag,
    Verdict,
)

ANN, BOB, CAT = (ForwardPath(Mailbox.from_text(f"{n}@example.net")) for n in ("ann", "bob", "cat"))
REJECT = Reject(Reply(550, "5.7.1", "no"))
DEFER = Defer(Reply(450, "4.7.1", "later"))
MAIL = Envelope(NULL_REVERSE_PATH)
SESSION = Session(ip_address("192.0.2.7"), "TOKEN")
NOTHING = cast("Services", None)
MESSAGE = cast("Message", None)  # nobody here looks at it
Records = list[Failed | Observed]


@dataclass(frozen=True, slots=True)
class Spf(Evidence):
    result: str


@dataclass(frozen=True, slots=True)
class Dkim(Evidence):
    result: str


Hook = Callable[..., Awaitable[MessageVerdict]]


def policy(
    needs: tuple[type[Evidence], ...] = (),
    wants: tuple[type[Evidence], ...] = (),
    provides: tuple[type[Evidence], ...] = (),
    has_effects: bool = False,
    **hooks: Hook,
) -> Policy[None]:
    methods = {name: _as_method(hook) for name, hook in hooks.items()}
    body: dict[str, Any] = {
        "needs": needs,
        "wants": wants,
        "provides": provides,
        "has_effects": has_effects,
    }
    return cast("Policy[None]", type("P", (Policy,), {**body, **methods})(None, NOTHING))


def _as_method(hook: Hook) -> Hook:
    return lambda _, *arguments: hook(*arguments)


def says(verdict: MessageVerdict, after: float = 0) -> Hook:
    async def hook(*_: object) -> MessageVerdict:
        if after:
            await trio.sleep(after)
        return verdict

    return hook


def configured(
    name: str,
    policy: Policy[None],
    mode: Mode = Mode.ENFORCE,
    timeout: float = 20,
    on_error: OnError = OnError.DEFER,
) -> Configured:
    return Configured(name, type(policy), policy, mode, timeout, on_error)


def conversation(
    nursery: trio.Nursery, *policies: Policy[None] | Configured, records: Records | None = None
) -> Conversation:
    all_of_them = [
        p if isinstance(p, Configured) else configured(f"p{i}", p) for i, p in enumerate(policies)
    ]
    record = records.append if records is not None else lambda _: None
    return Conversation(Plan(all_of_them), nursery, SESSION, record)


async def message(talk: Conversation, *paths: ForwardPath) -> Any:
    talk.mail(MAIL).start()
    for path in paths or (BOB,):
        outcome = await talk.rcpt(path)
        talk.accepted(path, outcome)
    return await talk.message(MESSAGE)


async def test_evidence_is_typed_and_crosses_stages(autojump_clock: MockClock) -> None:
    async def spf(transaction: MailTransaction, *_: object) -> Verdict:
        await trio.sleep(3)
        transaction.provide(Spf("pass"))
        await trio.sleep(1)
        return CONTINUE

    async def dmarc(transaction: MailTransaction, *_: object) -> Verdict:
        found = await transaction.evidence(Spf)
        return Tag((Prepend("X-Spf", found.result.upper()),))

    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery,
            policy(needs=(Spf,), on_message=dmarc),
            policy(provides=(Spf,), on_mail=spf),
        )
        assert (await message(talk)).edits == (Prepend("X-Spf", "PASS"),)
        assert trio.current_time() == 4


async def test_a_skipped_ehlo_gives_no_evidence(autojump_clock: MockClock) -> None:
    records: Records = []

    async def uses(transaction: MailTransaction, *_: object) -> Verdict:
        await transaction.evidence(Spf)
        raise AssertionError

    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery,
            policy(provides=(Spf,), on_ehlo=says(CONTINUE)),
            policy(needs=(Spf,), on_mail=uses),
            records=records,
        )
        talk.connect().start()
        talk.mail(MAIL).start()
        assert isinstance((await talk.rcpt(BOB)).verdicts[BOB], Defer)
    assert isinstance(records[0], Failed)
    assert records[0].reason == "EvidenceUnavailable: p0 was not asked before p1"


@pytest.mark.parametrize("has_effects", [False, True])
async def test_an_observer_outlives_its_needless_provider(
    has_effects: bool, autojump_clock: MockClock
) -> None:
    records: Records = []

    async def observes(transaction: MailTransaction, *_: object) -> Verdict:
        await transaction.evidence(Spf)
        return CONTINUE

    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery,
            configured("o", policy(needs=(Spf,), on_message=observes), Mode.OBSERVE),
            configured("r", policy(on_message=says(REJECT, after=2))),
            configured(
                "s",
                policy(provides=(Spf,), has_effects=has_effects, on_message=says(CONTINUE, 9)),
            ),
            records=records,
        )
        assert (await message(talk)).verdicts == {BOB: REJECT}
        assert trio.current_time() == 2
    assert trio.current_time() == 2
    assert any(isinstance(r, Failed) and r.entry.name == "o" for r in records)


async def test_one_that_is_cancelled_before_it_began_never_begins(
    autojump_clock: MockClock,
) -> None:
    begun: list[str] = []

    async def begins(*_: object) -> Verdict:
        begun.append("")
        return CONTINUE

    async with trio.open_nursery() as nursery:
        talk = conversation(nursery, policy(on_mail=says(CONTINUE, 1)), policy(on_mail=begins))
        asking = talk.mail(MAIL)
        asking._spawn(asking._entries[1])
        asking.cut()
        await wait_all_tasks_blocked()
    assert begun == []


async def test_one_that_shields_itself_in_a_task_delays_no_reply(
    autojump_clock: MockClock,
) -> None:
    async def shields(*_: object) -> Verdict:
        with trio.CancelScope(shield=True):
            await trio.sleep(60)
        return REJECT

    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery,
            policy(on_message=says(CONTINUE, 1)),
            configured("s", policy(on_message=shields), timeout=5, on_error=OnError.CONTINUE),
        )
        assert not (await message(talk)).verdicts
        assert trio.current_time() == 5
    assert trio.current_time() == 60  # but the session's nursery waits for it


async def test_each_recipient_has_the_first_verdict_about_it(autojump_clock: MockClock) -> None:
    asked: list[tuple[ForwardPath, ...]] = []

    async def effects(transaction: MailTransaction, *_: object) -> MessageVerdict:
        asked.append(transaction.forward_paths)
        return PerRecipient({ANN: DEFER, CAT: DEFER})

    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery,
            policy(on_message=says(PerRecipient({ANN: REJECT}), after=1)),
            policy(has_effects=True, on_message=effects),
            policy(on_message=says(Accept(), after=1)),
            policy(on_message=says(REJECT)),
        )
        outcome = await message(talk, ANN, BOB, CAT)
    assert outcome.verdicts == {ANN: REJECT, BOB: Accept(), CAT: DEFER}
    assert asked == [(BOB, CAT)]


@pytest.mark.parametrize("end", ["reset", "ehlo", "mail"])
async def test_an_abandoned_transaction_is_cancelled(end: str, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery,
            *(policy(on_mail=says(REJECT, 9)) for _ in range(3)),
            policy(on_ehlo=says(CONTINUE)),
        )
        talk.mail(MAIL).start()
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 3
        if end == "reset":
            talk.reset()
        elif end == "ehlo":
            talk.ehlo(SESSION)
        else:
            talk.mail(MAIL)
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks


async def test_a_dead_session_cancels_all(autojump_clock: MockClock) -> None:
    alive: set[int] = set()

    def lives(i: int) -> Hook:
        async def hook(*_: object) -> Verdict:
            alive.add(i)
            try:
                await trio.sleep(999)
            finally:
                alive.discard(i)
            return CONTINUE

        return hook

    with trio.CancelScope(deadline=3) as death:
        async with trio.open_nursery() as nursery:
            slow = [configured(f"{i}", policy(on_rcpt=lives(i)), timeout=99) for i in range(3)]
            talk = conversation(nursery, *slow)
            talk.mail(MAIL).start()
            nursery.start_soon(trio.sleep, 1)
            await talk.rcpt(BOB)
    assert death.cancelled_caught
    assert trio.current_time() == 3
    assert len(alive) == 0


async def test_context_variables_do_not_leak(autojump_clock: MockClock) -> None:
    var = contextvars.ContextVar("var", default="ours")

    def sets(after: float) -> Hook:
        async def hook(*_: object) -> Verdict:
            assert var.get() == "ours"
            token = var.set("theirs")
            await trio.sleep(after) if after else None
            assert var.get() == "theirs"
            var.reset(token)
            var.set("left behind")
            return CONTINUE

        return hook

    async with trio.open_nursery() as nursery:
        records: Records = []
        talk = conversation(
            nursery, *(policy(on_message=sets(n)) for n in (0, 0, 1, 0, 1)), records=records
        )
        assert not (await message(talk)).verdicts
        assert var.get() == "ours"
        assert not records


@pytest.mark.parametrize("first", [0, 1])
async def test_a_corrupted_scope_stack_ends_the_nursery_it_was_lent(
    first: float, autojump_clock: MockClock
) -> None:
    """The session's, that is; the edge catches it around that nursery and says 421."""

    async def corrupts(*_: object) -> Verdict:
        trio.CancelScope().__enter__()
        return CONTINUE

    with pytest.raises((RuntimeError, ExceptionGroup)) as caught:  # noqa: PT012  a block it must be
        async with trio.open_nursery() as nursery:
            talk = conversation(
                nursery,
                policy(on_message=says(CONTINUE, first)),
                policy(on_message=corrupts),
                policy(on_message=says(REJECT)),
            )
            await message(talk)
    assert caught.group_contains(RuntimeError, match="corrupted")


async def test_accept_ends_asking(autojump_clock: MockClock) -> None:
    never: Hook = says(REJECT)
    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery,
            policy(on_mail=says(Accept(), 1)),
            policy(on_mail=never, on_rcpt=never, on_message=never),
            policy(has_effects=True, on_rcpt=never),
        )
        assert (await message(talk)).verdicts == {BOB: Accept()}
        assert trio.current_time() == 1


async def test_undeclared_evidence_is_the_policys_own_failure(autojump_clock: MockClock) -> None:
    async def asks(transaction: MailTransaction, *_: object) -> Verdict:
        await transaction.evidence(Spf)
        return CONTINUE

    async with trio.open_nursery() as nursery:
        talk = conversation(nursery, policy(on_message=asks))
        decided: Decisive = (await message(talk)).verdicts[BOB]
        assert isinstance(decided, Defer)


GIVES_SPF = policy(provides=(Spf,), needs=(Dkim,), on_mail=says(CONTINUE))
GIVES_DKIM = policy(provides=(Dkim,), needs=(Spf,), on_mail=says(CONTINUE))
LATE = policy(provides=(Spf,), on_message=says(CONTINUE))
EFFECT = policy(provides=(Spf,), has_effects=True, on_mail=says(CONTINUE))
BY_RCPT = policy(provides=(Spf,), on_rcpt=says(CONTINUE))
USER = policy(needs=(Spf,), on_mail=says(CONTINUE))
LATE_USER = policy(needs=(Spf,), on_message=says(CONTINUE))


@pytest.mark.parametrize(
    ("policies", "text"),
    [
        ([configured("a", USER)], "a needs Spf: no policy gives it"),
        ([configured("a", USER), configured("b", LATE, Mode.OFF)], "b would give it, but is off"),
        ([configured("a", USER), configured("b", LATE)], "known only at MESSAGE"),
        ([configured("a", LATE_USER), configured("b", BY_RCPT)], "differs by recipient"),
        ([configured("a", GIVES_SPF), configured("b", GIVES_DKIM)], "each waits for the next: "),
        ([configured("a", USER), configured("b", EFFECT)], "each waits for the next: "),
        ([configured("a", EFFECT), configured("b", LATE)], "a and b both give Spf"),
        (
            [configured("a", policy(provides=(Spf,), on_mail=says(DEFER), on_rcpt=says(DEFER)))],
            "does not say at which stage",
        ),
    ],
)
def test_a_plan_that_could_hang_is_refused(policies: list[Configured], text: str) -> None:
    with pytest.raises(PlanError, match=text):
        Plan(policies)


async def test_a_deadline_once_met_is_forgotten(autojump_clock: MockClock) -> None:
    """The next policy computes for long, on a clock that sleeps do not move."""

    async def computes(*_: object) -> Verdict:
        autojump_clock.jump(30)
        return Accept()

    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery,
            policy(on_message=says(CONTINUE, 1)),
            policy(has_effects=True, on_message=computes),
        )
        assert (await message(talk)).verdicts == {BOB: Accept()}


async def shields(*_: object) -> Verdict:
    with trio.CancelScope(shield=True):
        await trio.sleep(60)
    return REJECT


async def test_one_that_shields_itself_costs_one_session_and_from_then_on_its_own_answer(
    autojump_clock: MockClock,
) -> None:
    alone = configured("s", policy(on_message=shields), timeout=5, on_error=OnError.CONTINUE)
    plan, watchdog = Plan([alone]), Watchdog()
    given_up: list[float] = []

    def talk(nursery: trio.Nursery) -> Conversation:
        def stuck() -> None:
            given_up.append(trio.current_time())

        return Conversation(plan, nursery, SESSION, lambda _: None, watchdog=watchdog, stuck=stuck)

    async with trio.open_nursery() as service:
        service.start_soon(watchdog.run)
        async with trio.open_nursery() as nursery:
            assert not (await message(talk(nursery))).verdicts  # late, so no Reject
        [once] = given_up
        assert 5 < once <= 5 + 2 * PATIENCE
        assert trio.current_time() == 60
        async with trio.open_nursery() as nursery:
            assert not (await message(talk(nursery))).verdicts
            assert trio.current_time() == 65  # in time
        assert given_up == [once]
        service.cancel_scope.cancel()


async def test_what_a_teller_raises_costs_no_answer(autojump_clock: MockClock) -> None:
    def tells(_: object) -> None:
        raise OSError("the log is full")

    async def fails(*_: object) -> Verdict:
        raise ValueError

    async with trio.open_nursery() as nursery:
        plan = Plan([configured("f", policy(on_message=fails))])
        outcome = await message(Conversation(plan, nursery, SESSION, tells))
    assert isinstance(outcome.verdicts[BOB], Defer)


async def test_evidence_that_is_wanted_need_not_be_there(autojump_clock: MockClock) -> None:
    seen: list[Spf | None] = []

    async def uses(transaction: MailTransaction, *_: object) -> Verdict:
        seen.append(await transaction.evidence_if_any(Spf))
        return CONTINUE

    async def gives(transaction: MailTransaction, *_: object) -> Verdict:
        await trio.sleep(1)
        transaction.provide(Spf("pass"))
        return CONTINUE

    wants = policy(wants=(Spf,), on_message=uses)
    async with trio.open_nursery() as nursery:
        await message(conversation(nursery, wants))
        await message(conversation(nursery, wants, policy(provides=(Spf,), on_mail=gives)))
        failing = policy(provides=(Spf,), on_mail=says(CONTINUE))
        await message(conversation(nursery, wants, failing))
    assert seen == [None, Spf("pass"), None]


async def test_the_outcome_holds_the_evidence_of_enforced_providers(
    autojump_clock: MockClock,
) -> None:
    def gives(evidence: Evidence) -> Hook:
        async def hook(transaction: MailTransaction, *_: object) -> Verdict:
            await trio.sleep(1)
            transaction.provide(evidence)
            return CONTINUE

        return hook

    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery,
            policy(provides=(Dkim,), on_message=gives(Dkim("fail"))),
            policy(provides=(Spf,), on_mail=gives(Spf("pass"))),
        )
        assert (await message(talk)).evidence == (Spf("pass"), Dkim("fail"))
        talk = conversation(
            nursery,
            configured("o", policy(provides=(Spf,), on_mail=gives(Spf("pass"))), Mode.OBSERVE),
        )
        assert (await message(talk)).evidence == ()


async def test_a_trace_tells_who_answered_what_and_who_was_cut(
    autojump_clock: MockClock,
) -> None:
    told: list[Answered | Cut] = []
    policies = [
        configured("quick", policy(on_message=says(CONTINUE))),
        configured("slow", policy(on_message=says(REJECT, 2))),
        configured("slower", policy(on_message=says(CONTINUE, 9))),
    ]
    async with trio.open_nursery() as nursery:
        talk = Conversation(Plan(policies), nursery, SESSION, lambda _: None, trace=told.append)
        await message(talk)
    summary = [(type(each).__name__, each.entry.name, each.seconds) for each in told]
    assert summary == [("Answered", "quick", 0), ("Answered", "slow", 2), ("Cut", "slower", 2)]


@pytest.mark.parametrize("first", [0, 1])
async def test_a_group_with_cancelled_in_it_is_split(
    first: float, autojump_clock: MockClock
) -> None:
    async def fails_in_cleanup() -> None:
        try:
            await trio.sleep(99)
        finally:
            raise OSError("in clean-up")

    async def has_children(*_: object) -> Verdict:
        async with trio.open_nursery() as children:
            children.start_soon(fails_in_cleanup)
            children.start_soon(trio.sleep, 99)
        return REJECT

    records: Records = []
    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery,
            policy(on_message=says(CONTINUE, first)),
            configured("c", policy(on_message=has_children), timeout=5, on_error=OnError.CONTINUE),
            policy(on_message=says(Accept())),
            records=records,
        )
        assert (await message(talk)).verdicts == {BOB: Accept()}
        assert trio.current_time() == 5
    assert {r.entry.name for r in records if isinstance(r, Failed)} == {"c"}


async def test_a_second_transaction_has_evidence_of_its_own(autojump_clock: MockClock) -> None:
    count = iter("ab")

    async def spf(transaction: MailTransaction, *_: object) -> Verdict:
        await trio.sleep(1)
        transaction.provide(Spf(next(count)))
        return CONTINUE

    async def uses(transaction: MailTransaction, *_: object) -> Verdict:
        return Tag((Prepend("X", (await transaction.evidence(Spf)).result),))

    async with trio.open_nursery() as nursery:
        talk = conversation(
            nursery, policy(provides=(Spf,), on_mail=spf), policy(needs=(Spf,), on_message=uses)
        )
        assert (await message(talk)).edits == (Prepend("X", "a"),)
        assert (await message(talk)).edits == (Prepend("X", "b"),)


@pytest.mark.parametrize("when", [n / 4 for n in range(28)])
async def test_a_session_may_die_at_any_time(when: float, autojump_clock: MockClock) -> None:
    async def spf(transaction: MailTransaction, *_: object) -> Verdict:
        await trio.sleep(2)
        transaction.provide(Spf("pass"))
        return CONTINUE

    async def uses(transaction: MailTransaction, *_: object) -> Verdict:
        await transaction.evidence(Spf)
        await trio.sleep(1)
        return CONTINUE

    tasks = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope(deadline=when):
        async with trio.open_nursery() as nursery:
            talk = conversation(
                nursery,
                policy(needs=(Spf,), on_rcpt=uses, on_message=uses),
                configured("o", policy(needs=(Spf,), on_message=uses), Mode.OBSERVE),
                policy(provides=(Spf,), on_mail=spf),
                policy(has_effects=True, on_rcpt=says(CONTINUE, 1), on_message=says(CONTINUE, 1)),
            )
            await message(talk)
    assert trio.current_time() <= max(when, 0)
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_an_observer_that_takes_too_long_has_failed(autojump_clock: MockClock) -> None:
    records: Records = []
    async with trio.open_nursery() as nursery:
        slow = configured("o", policy(on_message=says(REJECT, 30)), Mode.OBSERVE, timeout=3)
        talk = conversation(nursery, slow, policy(on_message=says(CONTINUE)), records=records)
        assert not (await message(talk)).verdicts
        assert trio.current_time() == 0
        talk.quit()
    assert [(type(each).__name__, each.entry.name) for each in records] == [
        ("Failed", "o"),
        ("Observed", "o"),
    ]
