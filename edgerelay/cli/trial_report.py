"""What a trial found, in words: one row for each policy asked, one for each recipient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgerelay.cli.trial import Findings
from edgerelay.observe.escape import escape
from edgerelay.observe.events import Event, PolicyFailed, PolicyNote, PolicyObserved, Trouble
from edgerelay.pipeline.plan import Entry
from edgerelay.pipeline.records import Answered, Cut
from edgerelay.policy import (
    Accept,
    Continue,
    Defer,
    Discard,
    Evidence,
    ForwardPath,
    Hold,
    MessageVerdict,
    PerRecipient,
    Reject,
    Stage,
    Tag,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One policy asked once. ``seconds`` None: it was not asked, or told us nothing."""

    stage: str
    recipient: str  #: of RCPT, else ""
    policy: str
    mode: str  #: "enforce", "observe"
    verdict: str  #: "continue", "tag", "reject" …; "failed", "cancelled", "not asked"
    detail: str  #: its reply or reason, why it failed, what an observer would have changed
    evidence: tuple[str, ...]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class RecipientReport:
    forward_path: str
    outcome: str  #: "accepted", "held", "discarded", "deferred", "rejected", "reported"
    stage: str
    reply: str
    policy: str  #: whose word it was; "": the relay's own
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    is_trusted: bool
    steps: tuple[Step, ...]
    recipients: tuple[RecipientReport, ...]
    added: tuple[str, ...]  #: fields, from the top down; Received is not among them
    removed: tuple[str, ...]
    next_hops: tuple[str, ...]  #: if a policy wants it delivered elsewhere
    score: float
    notes: tuple[str, ...]
    seconds: float

    @property
    def is_accepted(self) -> bool:
        """By the client's replies: for everyone."""
        return all(one.outcome in ("accepted", "held", "discarded") for one in self.recipients)


def report(findings: Findings, notes: Sequence[str] = ()) -> Report:
    """Put it into words; ``notes`` come before those that the policies wrote."""
    added, removed, next_hops, score = _edits(findings)
    return Report(
        is_trusted=findings.is_trusted,
        steps=tuple(_steps(findings)),
        recipients=tuple(_recipients(findings)),
        added=added,
        removed=removed,
        next_hops=next_hops,
        score=score,
        notes=(*notes, *_notes(findings.events)),
        seconds=findings.seconds,
    )


def _recipients(findings: Findings) -> Iterator[RecipientReport]:
    for path in findings.trial.forward_paths:
        fate = findings.fates[path]
        yield RecipientReport(
            escape(str(path)),
            fate.outcome,
            fate.stage.name.lower(),
            escape(str(fate.reply)),
            fate.policy,
            escape(fate.why),
        )


def _steps(findings: Findings) -> Iterator[Step]:
    traces = {(trace.entry, _whom(trace)): trace for trace in findings.traces}
    failures: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    differs = set()
    for event in findings.events:
        if isinstance(event, PolicyFailed):
            failures[event.policy, event.stage].append(event.reason)
        elif isinstance(event, PolicyObserved):
            differs.add((event.policy, event.stage))
    for stage, path in findings.reached:
        for entry in findings.plan.entries[stage]:
            trace = traces.get((entry, path))
            name = stage.name.lower()
            verdict, detail = _said(entry, trace, failures[entry.name, name])
            if (entry.name, name) in differs and verdict not in ("cancelled", "not asked"):
                detail = f"{detail}; enforced, it would decide".removeprefix("; ")
            yield Step(
                stage=name,
                recipient="" if path is None else escape(str(path)),
                policy=entry.name,
                mode="observe" if entry.observed else "enforce",
                verdict=verdict,
                detail=detail,
                evidence=_evidence(trace.evidence) if isinstance(trace, Answered) else (),
                seconds=None if trace is None else trace.seconds,
            )


def _whom(trace: Answered | Cut) -> ForwardPath | None:
    return trace.about[0] if trace.entry.stage is Stage.RCPT else None


def _said(entry: Entry, trace: Answered | Cut | None, reasons: list[str]) -> tuple[str, str]:
    """The verdict and its detail. ``reasons``: why the policy failed, at each of its failures.

    A policy that ran out of time was cancelled, too; only its failure tells the two apart.
    """
    has_failed = isinstance(trace, Cut) or (trace is not None and trace.verdict == entry.failed)
    if has_failed and reasons:
        stands = _words(entry.failed)[0]
        return "failed", f"{reasons.pop(0)}; on_error: {stands}"
    match trace:
        case Answered(verdict=verdict):
            return _words(verdict)
        case Cut():
            is_late = entry.observed  # nobody waits for it, and it is given a while only
            return "cancelled", "no answer in time" if is_late else "its answer was not needed"
        case None:
            return "not asked", "it was decided before"


def _words(verdict: MessageVerdict) -> tuple[str, str]:
    match verdict:
        case Continue():
            return "continue", ""
        case Tag(edits):
            kinds = [type(edit).__name__ for edit in edits]
            return "tag", " ".join(kinds)
        case Accept():
            return "accept", ""
        case Defer(reply) | Reject(reply):
            return type(verdict).__name__.lower(), escape(str(reply), 300)
        case Hold(reason) | Discard(reason):
            return type(verdict).__name__.lower(), escape(reason, 300)
        case PerRecipient(verdicts):
            parts = [
                " ".join((escape(str(path)), *filter(None, _words(each))))
                for path, each in verdicts.items()
            ]
            return "by recipient", "; ".join(parts)


def _evidence(found: Sequence[Evidence]) -> tuple[str, ...]:
    """As the field would say it, ``spf=pass smtp.mailfrom=a@b``; else the name of its type."""
    told: list[str] = []
    for evidence in found:
        results = evidence.authentication_results
        told += [] if results else [type(evidence).__name__]
        for result in results:
            parts = [f"{result.method}={result.result}"]
            parts += [f"{name}={value}" for name, value in result.properties if value]
            parts += [f"({result.reason})"] if result.reason else []
            told.append(escape(" ".join(parts), 300))
    return tuple(told)


def _edits(findings: Findings) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], float]:
    if findings.judgement is None:
        return (), (), (), 0.0
    edited, content = findings.judgement.edited, findings.trial.content
    removed = [content[start : start + length] for start, length in edited.removed]
    return (
        _fields(edited.prepend),
        tuple(field for octets in removed for field in _fields(octets)),
        edited.next_hops or (),
        edited.score,
    )


def _fields(octets: bytes) -> tuple[str, ...]:
    """Whole fields, each with LF and its folds."""
    fields: list[str] = []
    for line in octets.decode("utf-8", "backslashreplace").splitlines():
        shown = escape(line.replace("\t", " "))
        if shown.startswith(" ") and fields:
            fields[-1] += f"\n{shown}"
        else:
            fields.append(shown)
    return tuple(fields)


def _notes(events: Sequence[Event]) -> Iterator[str]:
    for event in events:
        if isinstance(event, PolicyNote):
            facts = " ".join(f"{name}={value}" for name, value in event.facts.items())
            yield f"{event.policy}: {event.text} {facts}".rstrip()
        elif isinstance(event, PolicyFailed) and event.stage == "background":
            yield f"{event.policy}: in the background: {event.reason}"
        elif isinstance(event, Trouble):
            yield f"{event.where}: {event.what} {event.detail}".rstrip()
