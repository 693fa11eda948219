"""Several workers give one answer."""

from __future__ import annotations

from edgerelay.control.merge import complete_status, merge, policy_counts
from edgerelay.control.messages import (
    Failure,
    QueueAct,
    QueueActed,
    QueueEntry,
    QueueList,
    QueueListing,
    QueueMessage,
    QueueShow,
    StatusAnswer,
    StatusRequest,
    WorkerStatus,
)


def entry(queue_id: str, arrived: float) -> QueueEntry:
    return QueueEntry(
        queue_id=queue_id,
        lane="mx",
        status="queued",
        reason="",
        arrived=arrived,
        due=arrived,
        lane_paused_until=0.0,
        attempts=0,
        size=1,
        reverse_path="<>",
        client="",
        helo="",
        recipients=(),
        recipient_count=0,
    )


OLD, MIDDLE, NEW = entry("A", 1), entry("B", 2), entry("C", 3)


def test_listings_are_one_the_oldest_first() -> None:
    answers = [QueueListing(entries=(OLD, NEW)), QueueListing(entries=(MIDDLE,))]
    assert merge(QueueList(), answers) == QueueListing(entries=(OLD, MIDDLE, NEW))


def test_a_listing_is_cut_as_a_whole() -> None:
    answers = [QueueListing(entries=(NEW,)), QueueListing(entries=(OLD, MIDDLE))]
    assert merge(QueueList(limit=2), answers) == QueueListing(entries=(OLD, MIDDLE), cut=True)


def test_a_part_of_the_queue_is_not_shown_for_all_of_it() -> None:
    gone = Failure(text="worker 1 ended")
    assert merge(QueueList(), [QueueListing(entries=(OLD,)), gone]) == gone


def test_a_message_is_where_it_is() -> None:
    found = QueueMessage(entries=(OLD,), header="Subject: x")
    assert merge(QueueShow(queue_id="A"), [QueueMessage(entries=()), found]) == found
    assert merge(QueueShow(queue_id="A"), []) == QueueMessage(entries=())


def test_actions_are_added_and_an_id_is_missing_only_if_nobody_has_it() -> None:
    request = QueueAct(action="delete", ids=("A", "B", "C"))
    answers = [
        QueueActed(deliveries=2, missing=("B", "C")),
        QueueActed(deliveries=1, missing=("A", "C")),
    ]
    assert merge(request, answers) == QueueActed(deliveries=3, missing=("C",))
    assert merge(request, []) == QueueActed(deliveries=0, missing=("A", "B", "C"))


def test_the_status_has_every_worker_be_it_silent() -> None:
    told = WorkerStatus(worker=1, pid=11, counts={"accepted": 5})
    merged = merge(StatusRequest(), [told, Failure(text="worker 0 did not answer")])
    answer = complete_status(
        merged,
        version="1",
        uptime=5.0,
        pid=1,
        listeners=["127.0.0.1:25"],
        processes=[(0, 10, 0), (1, 11, 3), (2, None, 1)],
        shards_without_owner=["7"],
    )
    assert answer == StatusAnswer(
        version="1",
        uptime=5.0,
        pid=1,
        listeners=("127.0.0.1:25",),
        workers=(
            WorkerStatus(worker=0, pid=10, state="not answering"),
            WorkerStatus(worker=1, pid=11, restarts=3, counts={"accepted": 5}),
            WorkerStatus(worker=2, pid=0, state="starting", restarts=1),
        ),
        shards_without_owner=("7",),
    )


def test_counts_of_policies_are_added_up() -> None:
    workers = (
        WorkerStatus(worker=0, pid=1, policies={"spf": {"reject": 2, "failed": 1}}),
        WorkerStatus(worker=1, pid=2, policies={"spf": {"reject": 3}, "dkim": {"agree": 4}}),
    )
    answer = StatusAnswer(version="", uptime=0, pid=0, listeners=(), workers=workers)
    assert policy_counts(answer) == {"spf": {"reject": 5, "failed": 1}, "dkim": {"agree": 4}}
    whole = complete_status(
        answer, version="1", uptime=1, pid=1, listeners=(), processes=[(0, 1, 0), (1, 2, 0)]
    )
    assert isinstance(whole, StatusAnswer)
    assert policy_counts(whole) == policy_counts(answer)
