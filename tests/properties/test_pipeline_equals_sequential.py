"""Whatever the policies do, the result is that of a run in configuration order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, cast

import trio
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.mail.envelope import Envelope
from edgerelay.pipeline import (
    Configured,
    Conversation,
    Failed,
    Mode,
    Observed,
    OnError,
    Plan,
    PlanError,
)
from edgerelay.policy import (
    CONTINUE,
    DECISIVE,
    Accept,
    Connection,
    Defer,
    Evidence,
    EvidenceUnavailable,
    ForwardPath,
    Hold,
    Mailbox,
    Message,
    Policy,
    Reject,
    Reply,
    Services,
    Session,
    Stage,
    Verdict,
)

GRACE = 4.0
BUDGET = 9 + 2**-12
START = {Stage.CONNECT: 0.0, Stage.MAIL: 3.0, Stage.RCPT: 5.0}
KINDS: list[type[Evidence]] = [type(f"Evidence{i}", (Evidence,), {}) for i in range(7)]
VERDICTS: dict[str, Verdict] = {
    "continue": CONTINUE,
    "accept": Accept(),
    "defer": Defer(Reply(450, "4.7.1", "later")),
    "reject": Reject(Reply(550, "5.7.1", "no")),
    "hold": Hold("odd"),
}
ON_ERROR: dict[OnError, Verdict] = {
    OnError.DEFER: Defer(Reply(451, "4.3.0", "Local error in processing, try again later")),
    OnError.CONTINUE: CONTINUE,
}


@dataclass(frozen=True)
class Script:
    """What one policy does; a delay of 0 does not wait at all."""

    stage: Stage
    delay: int
    then: int
    ending: str  # a verdict, "raise", "hang" or "swallow"
    whole_timeout: int
    on_error: OnError
    observed: bool
    has_effects: bool
    gives: bool
    gives_late: bool
    needs: tuple[int, ...]
    tolerant: bool  # goes on without evidence


def scripts() -> st.SearchStrategy[Script]:
    verdict = st.sampled_from(["continue"] * 5 + ["accept", "defer", "reject", "hold"])
    return st.builds(
        Script,
        stage=st.sampled_from([Stage.CONNECT, Stage.MAIL, Stage.RCPT, Stage.MESSAGE]),
        delay=st.sampled_from([0, 0, 0, 1, 2, 4, 7]),
        then=st.sampled_from([0, 0, 0, 1, 3, 6]),
        ending=st.one_of(verdict, verdict, st.sampled_from(["raise", "hang", "swallow"])),
        whole_timeout=st.sampled_from([1, 3, 6, 12, 20, 20]),
        on_error=st.sampled_from(OnError),
        observed=st.sampled_from([False, False, False, True]),
        has_effects=st.sampled_from([False, False, False, True]),
        gives=st.sampled_from([True, True, True, False]),
        gives_late=st.booleans(),
        needs=st.lists(st.integers(0, 6), max_size=2, unique=True).map(tuple),
        tolerant=st.booleans(),
    )


@dataclass
class Log:
    begun: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    records: list[Failed | Observed] = field(default_factory=list)


def policy_of(i: int, script: Script, log: Log) -> Policy[None]:  # noqa: C901  a script
    async def hook(  # noqa: C901
        self: Policy[None], connection: Connection, *_: object
    ) -> Verdict:
        log.begun[i] = trio.current_time()
        try:
            if script.delay:
                await trio.sleep(script.delay)
            if script.gives and not script.gives_late:
                connection.provide(KINDS[i]())
            for j in script.needs:
                try:
                    found = await connection.evidence(KINDS[j])
                    assert type(found) is KINDS[j]
                except EvidenceUnavailable:
                    if not script.tolerant:
                        raise
            if script.then:
                await trio.sleep(script.then)
            if script.gives and script.gives_late:
                connection.provide(KINDS[i]())
            if script.ending == "raise":
                raise OSError("down")
            if script.ending == "hang":
                await trio.sleep_forever()
            if script.ending == "swallow":
                try:
                    await trio.sleep_forever()
                except trio.Cancelled:
                    return VERDICTS["reject"]
            return VERDICTS[script.ending]
        finally:
            log.ended[i] = trio.current_time()

    body: dict[str, Any] = {
        f"on_{script.stage.name.lower()}": hook,
        "provides": (KINDS[i],),
        "needs": tuple(KINDS[j] for j in script.needs),
        "has_effects": script.has_effects,
    }
    policy: Policy[None] = type(f"Policy{i}", (Policy,), body)(None, cast("Services", None))
    return policy


def timeout_of(i: int, script: Script) -> float:
    return script.whole_timeout + 2.0 ** -(i + 3)  # no two sums of these are equal


class Reference:
    """One after another in thought, with each one's own clock."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.scripts = scripts
        self.order = sorted(range(len(scripts)), key=lambda i: (scripts[i].stage, i))
        self.start_of = dict(START)
        self.ends: dict[int, tuple[float, Verdict, float, bool]] = {}

    def enforced_before(self, i: int, *, same_stage: bool = False) -> list[int]:
        earlier = self.order[: self.order.index(i)]
        stage = self.scripts[i].stage
        return [
            j
            for j in earlier
            if not self.scripts[j].observed and (not same_stage or self.scripts[j].stage is stage)
        ]

    def run(self, i: int) -> tuple[float, Verdict, float, bool]:
        """When it ends and with what; when its evidence is known and if there is any."""
        if i not in self.ends:
            self.ends[i] = self._run(i)
        return self.ends[i]

    def _run(self, i: int) -> tuple[float, Verdict, float, bool]:  # noqa: C901  line by line
        script = self.scripts[i]
        now = reached = self.start_of[script.stage]
        if script.has_effects:
            now = max([now, *(self.run(j)[0] for j in self.enforced_before(i))])
            before = self.enforced_before(i, same_stage=True)
            reached = max([reached, *(self.run(j)[0] for j in before)])
        clock = reached if script.observed else now
        limit = clock + timeout_of(i, script)
        if script.stage is Stage.MESSAGE:
            limit = min(limit, self.start_of[script.stage] + BUDGET)
        failed = ON_ERROR[script.on_error]
        given: float | None = None
        if script.has_effects and now >= limit:
            return limit if script.observed else max(now, limit), failed, limit, False

        def end(at: float, verdict: Verdict) -> tuple[float, Verdict, float, bool]:
            return at, verdict, at if given is None else given, given is not None

        now += script.delay
        if now >= limit:
            return end(limit, failed)
        if script.gives and not script.gives_late:
            given = now
        for j in script.needs:
            there = False
            if self.scripts[j].stage <= script.stage:
                _, _, known, there = self.run(j)
                now = max(now, known)
            if now >= limit:
                return end(limit, failed)
            if not there and not script.tolerant:
                return end(now, failed)
        now += script.then
        if now >= limit:
            return end(limit, failed)
        if script.gives and script.gives_late:
            given = now
        if script.ending == "raise":
            return end(now, failed)
        if script.ending in ("hang", "swallow"):
            return end(limit, failed)
        return end(now, VERDICTS[script.ending])

    def stand(self, stages: set[Stage], at: float) -> tuple[float, Verdict, int | None]:
        """The time of the verdict, the verdict, and whose it is."""
        for i in self.order:
            if self.scripts[i].stage in stages and not self.scripts[i].observed:
                ended, verdict, _, _ = self.run(i)
                at = max(at, ended)
                if isinstance(verdict, DECISIVE):
                    return at, verdict, i
        return at, CONTINUE, None


async def converse(scripts: Sequence[Script], plan: Plan, log: Log) -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living
    reference = Reference(scripts)
    path = ForwardPath(Mailbox.from_text("bob@example.net"))

    def active() -> set[int]:
        return log.begun.keys() - log.ended.keys()

    def check(at: float, decider: int | None, stages: set[Stage]) -> None:
        """Needed policies ran as they should, others were cancelled, none is still there."""
        cut = reference.order.index(decider) if decider is not None else len(scripts)
        decided = max(
            [0.0]
            + [
                reference.run(j)[0]
                for j in reference.order[: cut + 1]
                if not scripts[j].observed and scripts[j].stage in stages
            ]
        )
        for place, i in enumerate(reference.order):
            if scripts[i].stage not in stages or (place < cut and scripts[i].observed):
                continue
            assert i not in active()
            if place <= cut:
                assert log.ended.get(i, reference.run(i)[0]) == reference.run(i)[0], i
            else:
                assert not (scripts[i].has_effects and i in log.begun)
                assert log.ended.get(i, 0.0) <= max(decided, reference.start_of[scripts[i].stage])

    async with trio.open_nursery() as nursery:
        session = Session(ip_address("192.0.2.7"), "TOKEN")
        conversation = Conversation(
            plan, nursery, session, log.records.append, budget=BUDGET, grace=GRACE
        )
        conversation.connect().start()
        await trio.sleep_until(3)
        conversation.mail(Envelope(NULL_REVERSE_PATH)).start()
        await trio.sleep_until(5)
        early = {Stage.CONNECT, Stage.MAIL, Stage.RCPT}
        at, verdict, decider = reference.stand(early, 5.0)
        outcome = await conversation.rcpt(path)
        assert outcome.verdicts.get(path, CONTINUE) == verdict
        assert trio.current_time() == at
        await wait_all_tasks_blocked()
        check(at, decider, early)
        last = at
        if verdict == CONTINUE:
            await trio.sleep(2)
            reference.start_of[Stage.MESSAGE] = at + 2
            conversation.accepted(path, outcome)
            last, verdict, decider = reference.stand({Stage.MESSAGE}, at + 2)
            outcome = await conversation.message(cast("Message", None))
            assert outcome.verdicts.get(path, CONTINUE) == verdict
            assert trio.current_time() == last
            await wait_all_tasks_blocked()
            check(last, decider, {Stage.MESSAGE})
        conversation.quit()
    assert trio.current_time() <= last + GRACE
    assert not active()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    for record in log.records:
        if isinstance(record, Observed) and record.agrees is not None:
            i = int(record.entry.name[1:])
            at, verdict, decider = reference.stand({scripts[i].stage}, 0.0)
            mine = reference.run(i)[1]
            if log.ended.get(i) == reference.run(i)[0] and reference.run(i)[0] < at:
                assert record.verdict == mine
                agrees = not isinstance(mine, DECISIVE) or action(mine) is action(verdict)
                assert record.agrees == agrees


def action(verdict: Verdict) -> type[Any]:
    return type(verdict) if isinstance(verdict, DECISIVE) else Accept


@settings(max_examples=int(os.environ.get("EXAMPLES", "400")), deadline=None)
@given(st.lists(scripts(), max_size=7))
def test_the_verdict_is_that_of_a_sequential_run(drawn: list[Script]) -> None:
    run_example(drawn)


def run_example(drawn: list[Script]) -> None:
    known = range(len(drawn))
    drawn = [
        Script(
            **{
                **s.__dict__,
                "needs": tuple(
                    j
                    for j in s.needs
                    if j in known
                    and j != i
                    and drawn[j].stage <= s.stage
                    and not (drawn[j].stage is Stage.RCPT and s.stage is Stage.MESSAGE)
                ),
            }
        )
        for i, s in enumerate(drawn)
    ]
    log = Log()
    configured = [
        Configured(
            f"p{i}",
            type(policy := policy_of(i, s, log)),
            policy,
            Mode.OBSERVE if s.observed else Mode.ENFORCE,
            timeout_of(i, s),
            s.on_error,
        )
        for i, s in enumerate(drawn)
    ]
    try:
        plan = Plan(configured)
    except PlanError:
        assume(False)
    trio.run(converse, drawn, plan, log, clock=MockClock(autojump_threshold=0))
