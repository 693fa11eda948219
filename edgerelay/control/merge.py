"""Several workers' answers to one question, made into one; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from edgerelay.control.messages import (
    Failure,
    QueueAct,
    QueueActed,
    QueueList,
    QueueListing,
    QueueMessage,
    QueueShow,
    Response,
    StatusAnswer,
    StatusRequest,
    WorkerRequest,
    WorkerStatus,
)


def merge(request: WorkerRequest, answers: Sequence[Response]) -> Response:
    """Return the relay's answer. ``answers`` are its workers', in any order.

    One worker's failure is everybody's, except for the status: a part of a listing would
    look like all of it. What the supervisor alone knows is added by `complete_status`.
    """
    if isinstance(request, StatusRequest):
        workers = [answer for answer in answers if isinstance(answer, WorkerStatus)]
        return StatusAnswer(
            version="",
            uptime=0,
            pid=0,
            listeners=(),
            workers=tuple(sorted(workers, key=lambda status: status.worker)),
        )
    for answer in answers:
        if isinstance(answer, Failure):
            return answer
    match request:
        case QueueList(limit=limit):
            return _listing([a for a in answers if isinstance(a, QueueListing)], limit)
        case QueueShow():
            return _message([a for a in answers if isinstance(a, QueueMessage)])
        case QueueAct(ids=ids):
            return _acted([a for a in answers if isinstance(a, QueueActed)], ids)


def complete_status(
    answer: Response,
    *,
    version: str,
    uptime: float,
    pid: int,
    listeners: Sequence[str],
    processes: Sequence[tuple[int, int | None, int]],
    shards_without_owner: Sequence[str] = (),
) -> Response:
    """Add what the supervisor knows: ``processes`` are (worker, pid or None, restarts).

    A worker that gave no answer is there too, as "starting" or "not answering".
    """
    if not isinstance(answer, StatusAnswer):
        return answer
    told = {status.worker: status for status in answer.workers}
    workers = []
    for worker, worker_pid, restarts in processes:
        silent = WorkerStatus(
            worker=worker, pid=0, state="starting" if worker_pid is None else "not answering"
        )
        status = told.get(worker, silent)
        workers.append(
            WorkerStatus(
                worker=worker,
                pid=worker_pid or 0,
                state=status.state,
                restarts=restarts,
                shards=status.shards,
                counts=status.counts,
                gauges=status.gauges,
                queue=status.queue,
                lanes=status.lanes,
                policies=status.policies,
                dropped_events=status.dropped_events,
            )
        )
    return StatusAnswer(
        version=version,
        uptime=uptime,
        pid=pid,
        listeners=tuple(listeners),
        workers=tuple(workers),
        shards_without_owner=tuple(shards_without_owner),
    )


def policy_counts(answer: StatusAnswer) -> dict[str, Counter[str]]:
    """What the workers counted of each policy, added up."""
    total: dict[str, Counter[str]] = {}
    for worker in answer.workers:
        for name, counts in worker.policies.items():
            total.setdefault(name, Counter()).update(counts)
    return total


def _listing(answers: Sequence[QueueListing], limit: int) -> QueueListing:
    entries = sorted(
        chain.from_iterable(answer.entries for answer in answers),
        key=lambda entry: (entry.arrived, entry.queue_id),
    )
    cut = len(entries) > limit or any(answer.cut for answer in answers)
    return QueueListing(entries=tuple(entries[:limit]), cut=cut)


def _message(answers: Sequence[QueueMessage]) -> QueueMessage:
    """A message is in one worker only; a shard that has it may stand beside ones that do not."""
    found = [answer for answer in answers if answer.entries]
    return found[0] if found else QueueMessage(entries=())


def _acted(answers: Sequence[QueueActed], ids: Sequence[str]) -> QueueActed:
    """An id is in one shard at most: it is missing if every one says so."""
    missing = set(ids).intersection(*(answer.missing for answer in answers))
    done = sum(answer.deliveries for answer in answers)
    return QueueActed(deliveries=done, missing=tuple(sorted(missing)))
