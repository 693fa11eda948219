"""Conservation: what became of every recipient of every attempt, and why something came twice.

An attempt whose 250 was read has at least one outcome for each recipient: delivered, reported,
silenced, held, discarded. One that was refused has none. What is there more than once needs a
reason from a closed list; so does nothing else.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from edgerelay.observe.events import Delivery, Event, Expired, MessageDiscarded
from edgerelay.testing.simulation.clients import Attempt, Fate, Mail
from edgerelay.testing.simulation.disk import Platter
from edgerelay.testing.simulation.hops import SimulatedHop

UNREAD: Final = "the hop's 250 may not have been read"
UNRECORDED: Final = "its outcome was not durable when the worker ended"
NOT_HELD_BACK: Final = "it was held because its outcome could not be recorded"
SENT_AGAIN: Final = "the client read no answer and sent it again"
TAKEN_BACK_TOO_LATE: Final = (
    "the disk failed in its commit, and the worker ended before it was undone"
)

_OWN_ID: Final = re.compile(rb"^Message-ID: <(\w+)@", re.MULTILINE)
_ORIGINAL_ID: Final = re.compile(rb"^Message-ID: <(\w+)@src\.test>", re.MULTILINE)
_FAILED: Final = re.compile(
    rb"^Final-Recipient: rfc822; ?(\S+)\r\n(?:\S.*\r\n)*?Action: failed", re.M
)
_QUEUE_ID: Final = re.compile(rb"\bid ([A-Z0-9]{14})\b")

#: An id of a message, and a recipient.
Unit = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A recipient that waits on a platter."""

    queue_id: str
    rcpt: str
    is_held: bool
    reason: str
    content: bytes

    @property
    def unit(self) -> Unit:
        return own_id(self.content), self.rcpt


def own_id(content: bytes) -> str:
    match = _OWN_ID.search(content)
    return match[1].decode() if match else "?"


def rows_of(platter: Platter) -> Iterator[Row]:
    """What of a shard is durable."""
    if platter.image is None:
        return
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(platter.image)
        found = connection.execute(
            "SELECT m.queue_id, d.status, d.reason, d.recipients, m.file, b.content "
            "FROM delivery d JOIN message m ON m.id = d.key >> 14 "
            "LEFT JOIN body b ON b.id = m.id ORDER BY d.key"
        )
        for queue_id, status, reason, recipients, file, body in found:
            content = platter.files.get(file, b"") if file else body or b""
            for recipient in msgspec.json.decode(recipients):
                yield Row(queue_id, recipient["to"], bool(status), reason, content)
    finally:
        connection.close()


@dataclass
class Oracle:
    """Told of what cannot be seen at the end: how much each death may have doubled."""

    hops: Iterable[SimulatedHop]
    #: What a hop had taken that was still on the disk when a worker ended: at most so often.
    unrecorded: dict[tuple[str, str], int] = field(default_factory=dict)  # by queue id and rcpt
    failed: set[tuple[str, str]] = field(default_factory=set)  # by queue id and rcpt
    discarded: Counter[Unit] = field(default_factory=Counter)

    def observe(self, event: Event) -> None:
        if isinstance(event, Delivery):
            if event.outcome in ("failed", "mixed"):
                self.failed |= {(event.queue_id, path.strip("<>")) for path, _ in event.recipients}
        elif isinstance(event, Expired):
            self.failed |= {(event.queue_id, path.strip("<>")) for path, _ in event.recipients}
        elif isinstance(event, MessageDiscarded):
            id_ = event.reverse_path.strip("<>").partition("@")[0]
            self.discarded.update((id_, path.strip("<>")) for path in event.recipients)

    def worker_ended(self, platters: Iterable[Platter]) -> None:
        """What its hops have taken and its disk still has will be tried again."""
        waiting = {(row.queue_id, row.rcpt) for platter in platters for row in rows_of(platter)}
        if not waiting:
            return
        taken = Counter(
            (_queue_id(taken.content), taken.rcpt) for hop in self.hops for taken in hop.taken
        )
        for key in waiting:
            if taken[key]:
                self.unrecorded[key] = taken[key]

    def judge(self, mails: Iterable[Mail], platters: Iterable[Platter]) -> Verdict:
        """At the end of a run, everything healed and time enough passed."""
        return _Judging(self, list(platters)).judge(mails)


def _queue_id(content: bytes) -> str:
    """From our Received field; a report has none, and its queue id as its own id."""
    match = _QUEUE_ID.search(content)
    return match[1].decode() if match and not _is_report(content) else own_id(content)


def _is_report(content: bytes) -> bool:
    return b"report-type=delivery-status" in content


@dataclass
class Verdict:
    problems: list[str] = field(default_factory=list)
    losses: int = 0
    duplicates: Counter[str] = field(default_factory=Counter)  # by reason
    outcomes: Counter[str] = field(default_factory=Counter)  # recipients


@dataclass
class _Tally:
    delivered: int = 0
    reports: set[str] = field(default_factory=set)
    waiting: list[Row] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)  # for one more each


class _Judging:
    def __init__(self, oracle: Oracle, platters: list[Platter]) -> None:
        self._oracle = oracle
        self._verdict = Verdict()
        self._tallies: defaultdict[Unit, _Tally] = defaultdict(_Tally)
        self._contents: dict[str, list[bytes]] = defaultdict(list)
        for hop in oracle.hops:
            for taken in hop.taken:
                self._note_taken(taken.rcpt, taken.content, taken.is_certain)
        for platter in platters:
            for row in rows_of(platter):
                self._note_row(row)

    def _note_taken(self, rcpt: str, content: bytes, is_certain: bool) -> None:
        id_ = own_id(content)
        tally = self._tallies[id_, rcpt]
        tally.delivered += 1
        if not is_certain:
            tally.reasons[UNREAD] += 1
        unrecorded = self._oracle.unrecorded.get((_queue_id(content), rcpt), 0)
        tally.reasons[UNRECORDED] = max(tally.reasons[UNRECORDED], unrecorded)
        self._contents[id_].append(content)
        self._note_report(id_, content)

    def _note_row(self, row: Row) -> None:
        tally = self._tallies[row.unit]
        tally.waiting.append(row)
        if "could not be recorded" in row.reason:
            tally.reasons[NOT_HELD_BACK] += 1
        if not row.is_held:
            self._verdict.problems.append(f"{row.unit}: nobody tries it any more")
        self._note_report(row.unit[0], row.content)

    def _note_report(self, id_: str, content: bytes) -> None:
        if not _is_report(content):
            return
        about = _ORIGINAL_ID.search(content)
        for match in _FAILED.finditer(content):
            self._tallies[about[1].decode() if about else "?", match[1].decode()].reports.add(id_)

    # -- the rules -------------------------------------------------------------------------

    def judge(self, mails: Iterable[Mail]) -> Verdict:
        known: set[Unit] = set()
        for mail in mails:
            for attempt in mail.attempts:
                known |= {(attempt.id, rcpt) for rcpt in attempt.rcpts}
                self._judge_attempt(mail, attempt)
            self._note_sent_again(mail)
        for unit, tally in self._tallies.items():
            if unit not in known:
                self._judge_other(unit, tally)
        return self._verdict

    def _judge_attempt(self, mail: Mail, attempt: Attempt) -> None:
        for content in self._contents.pop(attempt.id, ()):
            if not content.endswith(attempt.content):
                self._verdict.problems.append(f"{attempt.id}: the content is not what was sent")
        for rcpt in attempt.rcpts:
            tally = self._tallies[attempt.id, rcpt]
            discarded = self._oracle.discarded[attempt.id, rcpt]
            there = tally.delivered + len(tally.reports) + len(tally.waiting) + min(1, discarded)
            self._count(tally, discarded)
            if attempt.fate is Fate.TAKEN and not there:
                self._missing(mail, attempt, rcpt)
            elif attempt.fate in (Fate.REFUSED, Fate.NOT_SENT) and there:
                self._refused_and_there(attempt, rcpt, there)
            else:
                self._judge_copies((attempt.id, rcpt), tally, there)

    def _count(self, tally: _Tally, discarded: int) -> None:
        outcomes = self._verdict.outcomes
        outcomes["delivered"] += bool(tally.delivered)
        outcomes["reported"] += bool(tally.reports)
        outcomes["held"] += bool(tally.waiting)
        outcomes["discarded"] += bool(discarded)

    def _missing(self, mail: Mail, attempt: Attempt, rcpt: str) -> None:
        queue_id = attempt.reply.rpartition(" ")[2]
        if mail.notify[rcpt] == "NOTIFY=NEVER" and (queue_id, rcpt) in self._oracle.failed:
            self._verdict.outcomes["silenced"] += 1
        elif rcpt.startswith("drop") and not mail.has_reverse_path:
            self._verdict.outcomes["discarded"] += 1  # its event does not say whose it is
        else:
            self._verdict.losses += 1
            self._verdict.problems.append(f"{attempt.id} for {rcpt}: LOST after {attempt.reply!r}")

    def _refused_and_there(self, attempt: Attempt, rcpt: str, there: int) -> None:
        self._verdict.problems.append(
            f"{attempt.id} for {rcpt}: there {there} times after {attempt.reply!r}"
        )

    def _judge_other(self, unit: Unit, tally: _Tally) -> None:
        """Reports, and what nobody should have got."""
        id_, rcpt = unit
        if not rcpt.endswith("@src.test") and not id_.startswith("?"):
            there = tally.delivered + len(tally.waiting) + len(tally.reports)
            if there:
                self._verdict.problems.append(f"{unit}: nobody was told to send that there")
            return
        self._judge_copies(unit, tally, tally.delivered + len(tally.waiting))

    def _judge_copies(self, unit: Unit, tally: _Tally, there: int) -> None:
        for reason, most in tally.reasons.items():
            explained = min(max(0, there - 1), most)
            there -= explained
            if explained:
                self._verdict.duplicates[reason] += explained
        if there > 1:
            what = (
                f"{tally.delivered} delivered, {sorted(tally.reports)}, {len(tally.waiting)} wait"
            )
            self._verdict.problems.append(f"{unit}: DUPLICATE without a reason: {what}")

    def _note_sent_again(self, mail: Mail) -> None:
        for rcpt in mail.rcpts:
            there = sum(
                bool(tally.delivered or tally.reports or tally.waiting)
                for attempt in mail.attempts
                if (tally := self._tallies.get((attempt.id, rcpt))) is not None
            )
            if there > 1:
                self._verdict.duplicates[SENT_AGAIN] += there - 1
