"""Ask the policies of one stage: concurrent work, sequential meaning.

``_walk`` goes through the policies in the order of configuration, in the caller's own task.
One that answers without waiting costs a function call. The first one that has to wait makes
``_spread`` start every other policy of the stage in a task of the session's nursery; the walk
needs this one's answer whatever the others say, so it may as well wait inside of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from weakref import ref

import trio

from edgerelay.pipeline.plan import Entry, Plan
from edgerelay.pipeline.records import Answered, Cut, Failed, Observed, Record, Trace
from edgerelay.pipeline.step import step
from edgerelay.pipeline.watchdog import Watchdog
from edgerelay.policy import (
    DECISIVE,
    VERDICTS,
    Accept,
    Asked,
    Decisive,
    Edit,
    Evidence,
    EvidenceUnavailable,
    ForwardPath,
    MessageVerdict,
    PerRecipient,
    Stage,
    Tag,
)
from edgerelay.policy.views import EvidenceT

Subject: TypeAlias = ForwardPath | None  # whom a verdict is about; None: whoever comes
Arguments: TypeAlias = Callable[[Asked, tuple[Subject, ...]], tuple[object, ...]]  # of the hook


@dataclass(frozen=True, slots=True)
class Outcome:
    """What stands after a stage, for each whom it is about."""

    verdicts: Mapping[Subject, Decisive]  #: those absent: no objection
    decided_by: Mapping[Subject, Entry]
    edits: tuple[Edit, ...]  #: in the total order, of those before the decider
    evidence: tuple[Evidence, ...]  #: of enforced providers, in the total order


@dataclass(frozen=True, slots=True)
class Helpers:
    """What the askings of one session share."""

    nursery: trio.Nursery
    record: Record
    watchdog: Watchdog
    stuck: Callable[[], None]  #: called if a policy keeps the session's task past its deadline
    trace: Trace | None = None


class Asking:
    """One stage of one conversation."""

    def __init__(
        self,
        plan: Plan,
        stage: Stage,
        before: Asking | None,
        arguments: Arguments,
        helpers: Helpers,
        subjects: Sequence[Subject] = (None,),
        deadline: float = math.inf,
    ) -> None:
        self.plan, self.stage, self.before = plan, stage, before
        self.found: dict[type[Evidence], Evidence | str] = {}  # or why there is none
        self.waiting: dict[type[Evidence], trio.Event] = {}
        self.waits_for: dict[Entry, Entry] = {}
        self._entries = plan.entries[stage]
        self.is_over = not self._entries
        self.is_moot = False  # an earlier stage has decided, or the client has gone on
        self._arguments, self._helpers, self._record = arguments, helpers, helpers.record
        self._subjects, self._undecided = tuple(subjects), list(subjects)
        self._deadline = deadline
        self._verdicts: dict[Subject, Decisive] = {}
        self._decided_by: dict[Subject, Entry] = {}
        self._edits: list[Edit] = []
        self._next = 0  # whose answer the walk needs now
        self._walk_scope: trio.CancelScope | None = None
        self._scopes: dict[Entry, trio.CancelScope] = {}  # of those asked in a task
        self._answers: dict[Entry, MessageVerdict] = {}  # that they have given
        self._watchers: list[trio.Event] = []
        self._has_begun = False
        self._after: list[ref[Asking]] = []  # one that nobody holds has nothing to cut
        if before is not None:
            if before.is_moot or before._verdicts:
                self.cut()
            elif not before.is_settled:
                before._after.append(ref(self))

    @property
    def is_settled(self) -> bool:
        """Whether this stage and all before it are over."""
        return self.is_over and (self.before is None or self.before.is_settled)

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Of this stage alone."""
        return tuple(self._edits)

    def start(self) -> None:
        """Ask in the background."""
        self._has_begun = True
        if not self.is_over:
            self._helpers.nursery.start_soon(self._ask)

    async def outcome(self) -> Outcome:
        """Say what stands, earlier stages first; ask in the caller's task if not started."""
        if not self._has_begun:
            self._has_begun = True
            await self._ask()
        while not self.is_over:
            await self._change()
        evidence = self._evidence()
        if self.before is None:
            return Outcome(self._verdicts, self._decided_by, tuple(self._edits), evidence)
        past = await self.before.outcome()
        evidence = (*past.evidence, *evidence)
        if None in past.verdicts:
            verdicts = dict.fromkeys(self._subjects, past.verdicts[None])
            deciders = dict.fromkeys(self._subjects, past.decided_by[None])
            return Outcome(verdicts, deciders, past.edits, evidence)
        edits = (*past.edits, *self._edits)
        return Outcome(self._verdicts, self._decided_by, edits, evidence)

    def _evidence(self) -> tuple[Evidence, ...]:
        """Observers' evidence is real, but whether it is there by now is chance: left out."""
        if not self.found:
            return ()
        found = [
            self.found.get(kind)
            for entry in self._entries
            if not entry.observed
            for kind in entry.provides
        ]
        return tuple(each for each in found if isinstance(each, Evidence))

    def cut(self) -> None:
        """Need no answer any more: cancel all that runs, here and in later stages."""
        self.is_moot = True
        if self._walk_scope is not None:
            self._walk_scope.cancel()
        self._finish(keep=0)

    def retire(self, grace: float) -> None:
        """Leave those in observe mode ``grace`` seconds: the reply is given."""
        for scope in self._scopes.values():
            scope.deadline = min(scope.deadline, trio.current_time() + grace)

    def publish(self, kind: type[Evidence], found: Evidence | str) -> None:
        if self.found.setdefault(kind, found) is found and kind in self.waiting:
            self.waiting.pop(kind).set()

    async def _ask(self) -> None:
        while not self.is_over:
            with trio.CancelScope() as self._walk_scope:
                try:
                    await self._walk(self._walk_scope)
                finally:
                    self._helpers.watchdog.end(self)
            if self._walk_scope.cancel_called and not self.is_over:
                entry = self._entries[self._next]
                self._heed(entry, self._answers.get(entry) or self._late(entry))

    async def _walk(self, scope: trio.CancelScope) -> None:
        while self._next < len(self._entries):
            entry = self._entries[self._next]
            if entry.observed:
                if entry not in self._scopes:
                    self._spawn(entry)
                self._next += 1
                continue
            answer = await self._answer_of(entry, scope)
            if answer is None:
                return
            if scope.deadline != math.inf:  # it had to wait
                self._helpers.watchdog.end(self)
                if scope.cancel_called:  # even if it answered after all
                    return
                scope.deadline = math.inf  # cancel_called compares it with the clock
            if not self.is_over:
                self._heed(entry, answer)
            if self.is_over:
                return
        self._finish(keep=self._next)

    async def _answer_of(self, entry: Entry, scope: trio.CancelScope) -> MessageVerdict | None:
        """None: it may not be asked, and ``scope`` says why."""
        if entry not in self._scopes:
            if entry.has_effects and not await self._may_have_effects(scope):
                return None
            if (entry.name, entry.stage) not in self._helpers.watchdog.apart:
                return await self._attempt(entry, self._blocked)
            self._spawn(entry)
            self._spread(self._next + 1)
        return await self._wait_for(entry, scope)

    async def _may_have_effects(self, scope: trio.CancelScope) -> bool:
        if self.before is not None and not self.before.is_settled:
            self._spread(self._next + 1)
            await self.before.outcome()  # if it decides, it cuts us
        if trio.current_time() >= self._deadline:
            scope.cancel()
        return not scope.cancel_called

    async def _wait_for(self, entry: Entry, scope: trio.CancelScope) -> MessageVerdict:
        while entry not in self._answers:
            scope.deadline = self._scopes[entry].deadline  # should it shield itself
            await self._change()
        return self._answers[entry]

    async def _attempt(
        self, entry: Entry, blocked: Callable[[], None] | None = None
    ) -> MessageVerdict:
        trace = self._helpers.trace
        started = trio.current_time() if trace is not None else 0.0
        answer: MessageVerdict = entry.failed
        failure = ""
        has_ended = False
        try:
            whom = tuple(self._undecided) if entry.has_effects else self._subjects
            hook = entry.hook(*self._arguments(_Reach(self, entry), whom))
            answer = await (hook if blocked is None else step(hook, blocked))
            self._check(answer)
            has_ended = True
        except* (Exception, SystemExit) as errors:  # a policy ends itself, not the worker
            # Its text alone: the errors have this frame in their tracebacks.
            answer, failure, has_ended = entry.failed, _text(errors), True
        finally:
            for kind in entry.provides:
                self.publish(kind, "found none")
            if trace is not None:
                took = trio.current_time() - started
                about = tuple(path for path in self._subjects if path is not None)
                trace(
                    self._answered(entry, answer, took, about)
                    if has_ended
                    else Cut(entry, took, about)
                )
        if failure:
            self._record(Failed(entry, failure))
        return answer

    def _answered(
        self, entry: Entry, answer: MessageVerdict, took: float, about: tuple[ForwardPath, ...]
    ) -> Answered:
        found = (self.found.get(kind) for kind in entry.provides)
        evidence = tuple(each for each in found if isinstance(each, Evidence))
        return Answered(entry, answer, took, evidence, about)

    def _check(self, answer: MessageVerdict) -> None:
        if not isinstance(answer, VERDICTS) or (
            isinstance(answer, PerRecipient) and self.stage is not Stage.MESSAGE
        ):
            raise TypeError(f"{answer!r} is no verdict at {self.stage.name}")

    def _blocked(self) -> None:
        scope, entry = self._walk_scope, self._entries[self._next]
        assert scope is not None  # noqa: S101  narrows the type: the walk is under way
        scope.deadline = limit = self._limit(entry)
        self._helpers.watchdog.begin(self, limit, entry, self._helpers.stuck)
        self._spread(self._next + 1)

    def _spread(self, start: int) -> None:
        """Start all that may start, since the walk has to wait."""
        for entry in self._entries[start:]:
            if not entry.has_effects and entry not in self._scopes:
                self._spawn(entry)

    def _spawn(self, entry: Entry) -> None:
        scope = self._scopes[entry] = trio.CancelScope(deadline=self._limit(entry))
        self._helpers.nursery.start_soon(self._ask_apart, entry, scope, scope.deadline)

    async def _ask_apart(self, entry: Entry, scope: trio.CancelScope, limit: float) -> None:
        answer: MessageVerdict | None = None
        with scope:
            if entry.observed and entry.has_effects and self.before is not None:
                await self.before.outcome()
            if not scope.cancel_called:
                answer = await self._attempt(entry)
        if scope.cancel_called:  # perhaps before it began
            for kind in entry.provides:
                self.publish(kind, "was cut off")
            ran_out = trio.current_time() >= limit and entry not in self._answers
            is_asked = entry.observed or entry.place >= self._next
            answer = self._late(entry) if ran_out and is_asked else None
        if answer is not None:
            self._answers[entry] = answer
        if entry.observed and self.is_over:
            self._compare(entry, answer)
        self._changed()

    def _limit(self, entry: Entry) -> float:
        return min(trio.current_time() + entry.timeout, self._deadline)

    def _late(self, entry: Entry) -> MessageVerdict:
        awaited = self.waits_for.get(entry)
        self._record(
            Failed(entry, f"timeout, waiting for {awaited.name}" if awaited else "timeout")
        )
        return entry.failed

    def _heed(self, entry: Entry, answer: MessageVerdict) -> None:
        self._next += 1
        if isinstance(answer, Tag):
            self._edits += answer.edits
        elif isinstance(answer, (*DECISIVE, PerRecipient)):
            parts = _by_subject(answer, self._undecided)
            for subject, verdict in parts.items():
                if subject in self._undecided:
                    self._verdicts[subject] = verdict
                    self._decided_by[subject] = entry
                    self._undecided.remove(subject)
            if not self._undecided:
                self._finish(keep=entry.place)

    def _finish(self, keep: int) -> None:
        """End the stage; of the entries, only observers before ``keep`` go on."""
        self.is_over = True
        for entry in self._entries:
            if entry.observed and entry.place < keep:
                if entry in self._answers:
                    self._compare(entry, self._answers[entry])
                continue
            if entry in self._scopes:
                self._scopes[entry].cancel()
            for kind in entry.provides:
                self.publish(kind, "was not needed")
        if self._verdicts or self.is_moot:
            for later in [found for each in self._after if (found := each()) is not None]:
                later.cut()
        self._changed()

    def _compare(self, entry: Entry, answer: MessageVerdict | None) -> None:
        if answer is None or self.is_moot:
            self._record(Observed(entry, answer, None))
            return
        agrees = True
        for subject, verdict in _by_subject(answer, self._subjects).items():
            decider = self._decided_by.get(subject)
            if decider is None or decider.place > entry.place:
                agrees &= _action(verdict) is _action(self._verdicts.get(subject))
        self._record(Observed(entry, answer, agrees))

    async def _change(self) -> None:
        event = trio.Event()
        self._watchers.append(event)
        await event.wait()

    def _changed(self) -> None:
        for event in self._watchers:
            event.set()
        self._watchers.clear()


class _Reach:
    """The stage as one policy reaches it."""

    __slots__ = ("_asking", "_entry")

    def __init__(self, asking: Asking, entry: Entry) -> None:
        self._asking, self._entry = asking, entry

    async def evidence(self, kind: type[EvidenceT]) -> EvidenceT:
        if kind not in self._entry.needs and kind not in self._entry.wants:
            raise LookupError(f"{self._entry.name} does not declare that it needs {kind.__name__}")
        provider = self._asking.plan.provider[kind]
        asking: Asking | None = self._asking
        while asking is not None and asking.stage > provider.stage:
            asking = asking.before
        if asking is None or asking.stage is not provider.stage:
            raise EvidenceUnavailable(f"{provider.name} was not asked before {self._entry.name}")
        if kind not in asking.found:
            self._asking.waits_for[self._entry] = provider
            await asking.waiting.setdefault(kind, trio.Event()).wait()
            del self._asking.waits_for[self._entry]
        found = asking.found[kind]
        if not isinstance(found, kind):
            raise EvidenceUnavailable(f"{provider.name} {found}")
        return found

    async def evidence_if_any(self, kind: type[EvidenceT]) -> EvidenceT | None:
        if kind not in self._asking.plan.provider and kind in self._entry.wants:
            return None
        try:
            return await self.evidence(kind)
        except EvidenceUnavailable:
            return None

    def provide(self, evidence: Evidence) -> None:
        if type(evidence) not in self._entry.provides:
            kind = type(evidence).__name__
            raise LookupError(f"{self._entry.name} does not declare that it provides {kind} here")
        self._asking.publish(type(evidence), evidence)


def _by_subject(answer: MessageVerdict, subjects: Sequence[Subject]) -> Mapping[Subject, Decisive]:
    if isinstance(answer, PerRecipient):
        return {path: verdict for path, verdict in answer.verdicts.items() if path in subjects}
    return dict.fromkeys(subjects, answer) if isinstance(answer, DECISIVE) else {}


def _text(failure: BaseExceptionGroup[Exception | SystemExit]) -> str:
    """What went wrong, innermost errors first named; the traceback is the author's affair."""
    errors: list[str] = []
    waiting: list[BaseException] = [failure]
    while waiting and len(errors) < 3:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        else:
            errors.append(f"{type(error).__name__}: {error}")
    return "; ".join(errors)


def _action(verdict: Decisive | None) -> type[Decisive]:
    return Accept if verdict is None else type(verdict)
