"""A session's policies in the session's words: stages in, refusals and judgements out.

It knows no command and no transport. What the policies want of a message is summed up here,
and done by the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from edgerelay.edge import replies
from edgerelay.edge.shared import Shared
from edgerelay.mail.address import ForwardPath
from edgerelay.mail.envelope import Envelope
from edgerelay.mail.reply import Reply
from edgerelay.observe.escape import escape
from edgerelay.observe.events import Observer, PolicyFailed, PolicyObserved
from edgerelay.pipeline import authentication_results
from edgerelay.pipeline.asking import Asking, Outcome, Subject
from edgerelay.pipeline.conversation import Conversation
from edgerelay.pipeline.counts import PolicyCounts
from edgerelay.pipeline.edits import Edited, apply
from edgerelay.pipeline.message import ReadMessage
from edgerelay.pipeline.plan import Plan
from edgerelay.pipeline.records import Failed, Observed, Trace
from edgerelay.policy import (
    AuthenticationResult,
    Decisive,
    Defer,
    Discard,
    Edit,
    Evidence,
    HeaderField,
    Reject,
    Remove,
    Session,
)

#: Seconds that policies in observe mode have after the reply.
GRACE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Refusal:
    reply: Reply
    policy: str  #: for the operator; the client never reads it


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a message that is taken, for some of its recipients at least."""

    edited: Edited = field(default_factory=Edited)
    verdicts: Mapping[ForwardPath, Decisive] = field(default_factory=dict)
    deciders: Mapping[ForwardPath, str] = field(default_factory=dict)  #: names of policies


class Policing:
    """Lives as long as the nursery it is given, which must be the session's own."""

    def __init__(
        self,
        shared: Shared,
        plan: Plan,
        session: Session,
        nursery: trio.Nursery,
        stuck: Callable[[], None],
        trace: Trace | None = None,
    ) -> None:
        self._shared = shared
        self._plan = plan
        self._is_trusted = session.is_trusted
        self._counts = shared.policies.counts
        self._record = _Teller(self._counts, shared.observer, session.token)
        self._talk = Conversation(
            plan,
            nursery,
            session,
            self._record,
            budget=shared.settings.decision_timeout,
            grace=GRACE,
            watchdog=shared.policies.watchdog,
            stuck=stuck,
            trace=trace,
        )

    async def connect(self) -> Refusal | None:
        return await self._early(self._talk.connect())

    async def hello(self, session: Session) -> Refusal | None:
        """``session`` is what is known of it from now on."""
        return await self._early(self._talk.ehlo(session))

    async def mail(self, envelope: Envelope) -> Refusal | None:
        return await self._early(self._talk.mail(envelope))

    async def rcpt(self, forward_path: ForwardPath) -> Refusal | None:
        """Ask about one recipient; None: it is to be accepted, and that is noted."""
        outcome = await self._talk.rcpt(forward_path)
        refusal = self._refusal(outcome, forward_path)
        if refusal is None:
            self._talk.accepted(forward_path, outcome)
        return refusal

    async def message(
        self,
        message: ReadMessage,
        forward_paths: Sequence[ForwardPath],
        *,
        each_hears: bool = False,
    ) -> Refusal | Judgement:
        """``forward_paths`` are all that RCPT was answered 250 for.

        If somebody is to have it, or it is dropped for all, the verdicts are part of the
        judgement, since without PRDR there is one reply for all. Otherwise a refusal is the
        reply: where some would have it refused and the rest dropped, a report to whom it claims
        to be from would be the only mail that came of it. ``each_hears``: there is PRDR, and
        only what all share is one refusal.
        """
        # What is a file is handed over with the reply: nobody can read on in it.
        in_memory = message.body is not None
        outcome = await self._talk.message(message, may_be_read_on=in_memory)
        for path, verdict in outcome.verdicts.items():
            self._counts.decided(outcome.decided_by[path], verdict)
        verdicts = [outcome.verdicts.get(path) for path in forward_paths]
        refused = [
            path
            for path, verdict in zip(forward_paths, verdicts, strict=True)
            if isinstance(verdict, Defer | Reject)
        ]
        differ = each_hears and any(verdict != verdicts[0] for verdict in verdicts)
        nobody_has_it = all(isinstance(each, Defer | Reject | Discard) for each in verdicts)
        if refused and nobody_has_it and not differ:
            # One that may try again shall: at the retry the others hear theirs.
            first = next((p for p in refused if _is_transient(outcome, p)), refused[0])
            return _said(outcome, first)
        edited = apply(_of_this(message, outcome.edits), self._forged(message))
        results = [result for each in outcome.evidence for result in self._results(each)]
        if results:
            ours = authentication_results.field(self._shared.result_names[0], results)
            edited = edited.below(ours)
        return Judgement(
            edited,
            {path: v for path, v in outcome.verdicts.items() if path is not None},
            {p: entry.name for p, entry in outcome.decided_by.items() if p is not None},
        )

    def _forged(self, message: ReadMessage) -> Sequence[HeaderField]:
        if self._is_trusted:  # its results are our own house's
            return ()
        named = message.named(authentication_results.NAME)
        return authentication_results.forged(named, self._shared.result_names)

    def _results(self, evidence: Evidence) -> Sequence[AuthenticationResult]:
        try:
            return tuple(evidence.authentication_results)
        except Exception as error:  # a policy's own property
            entry = self._plan.provider[type(evidence)]
            self._record(Failed(entry, f"{type(error).__name__}: {error}"))
            return ()

    def reset(self) -> None:
        self._talk.reset()

    def quit(self) -> None:
        self._talk.quit()

    async def _early(self, asking: Asking) -> Refusal | None:
        """A stage before RCPT: refused now, or at RCPT while the client goes on."""
        if self._shared.settings.delay_reject:
            asking.start()
            return None
        return self._refusal(await asking.outcome(), None)

    def _refusal(self, outcome: Outcome, subject: Subject) -> Refusal | None:
        verdict = outcome.verdicts.get(subject)
        if verdict is None:
            return None
        if isinstance(verdict, Defer | Reject):
            self._counts.decided(outcome.decided_by[subject], verdict)
            return _said(outcome, subject)
        return None


class _Teller:
    """Counts what policies did, and tells of what went wrong.

    No method of `Policing`, whose conversation holds it: the two would hold each other.
    """

    __slots__ = ("_counts", "_observer", "_token")

    def __init__(self, counts: PolicyCounts, observer: Observer, token: str) -> None:
        self._counts, self._observer, self._token = counts, observer, token

    def __call__(self, what: Failed | Observed) -> None:
        self._counts.record(what)
        entry = what.entry
        stage = entry.stage.name.lower()
        if isinstance(what, Failed):
            self._observer(
                PolicyFailed(
                    policy=entry.name,
                    stage=stage,
                    reason=escape(what.reason, 500),
                    session=self._token,
                )
            )
        elif what.agrees is False:
            self._observer(
                PolicyObserved(
                    policy=entry.name,
                    stage=stage,
                    verdict=escape(_in_words(what), 200),
                    session=self._token,
                )
            )


def _of_this(message: ReadMessage, edits: Sequence[Edit]) -> Sequence[Edit]:
    """Leave out removals of another message's fields: they would cut whatever stands there."""
    if not any(isinstance(edit, Remove) for edit in edits):
        return edits
    ours = {id(field) for field in message.fields}
    return [e for e in edits if not isinstance(e, Remove) or id(e.field) in ours]


def _said(outcome: Outcome, subject: Subject) -> Refusal:
    verdict, entry = outcome.verdicts[subject], outcome.decided_by[subject]
    if not isinstance(verdict, Defer | Reject):
        raise TypeError(f"{verdict!r} has no reply")
    return Refusal(replies.of_a_policy(verdict.reply), entry.name)


def _is_transient(outcome: Outcome, path: ForwardPath) -> bool:
    return isinstance(outcome.verdicts[path], Defer)


def _in_words(what: Observed) -> str:
    verdict = what.verdict
    if isinstance(verdict, Defer | Reject):
        return f"{type(verdict).__name__.lower()}: {verdict.reply}"
    return type(verdict).__name__.lower()
