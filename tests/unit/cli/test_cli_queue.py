"""`edgerelay queue`: what is asked of the relay, and how the answer looks."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from click.testing import Result

from edgerelay.control.messages import (
    EntryRecipient,
    Failure,
    Message,
    QueueAct,
    QueueActed,
    QueueEntry,
    QueueList,
    QueueListing,
    QueueMessage,
    QueueShow,
    Response,
)
from edgerelay.spool.api import Filter, Status

Run = Callable[..., Result]
Relay = Callable[[Response], AbstractContextManager[list[Message]]]

# The commands look at the real clock, too: what they say must stay the same for half an hour.
NOW = time.time()  # noqa: TID251 - see above


def entry(**changes: object) -> QueueEntry:
    fields: dict[str, object] = {
        "queue_id": "5390N1",
        "lane": "smtp://10.0.0.5:25",
        "status": "queued",
        "reason": "",
        "arrived": NOW - 91_800,
        "due": NOW - 1,
        "lane_paused_until": 0.0,
        "attempts": 2,
        "size": 4200,
        "reverse_path": "<a@b.example>",
        "client": "192.0.2.1",
        "helo": "client.example",
        "recipients": (
            EntryRecipient(forward_path="<x@example.com>", last_reply="451 4.3.0 later"),
            EntryRecipient(forward_path="<y@example.com>"),
        ),
        "recipient_count": 7,
    }
    return QueueEntry(**{**fields, **changes})  # type: ignore[arg-type] # fields as in the class


def rows(result: Result) -> list[str]:
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()[1:]


def test_a_delivery_is_a_row(run: Run, relay: Relay) -> None:
    with relay(QueueListing(entries=(entry(),))) as asked:
        (row,) = rows(run("queue", "list"))
    assert asked == [QueueList()]
    assert re.split(r" {2,}", row) == [
        "5390N1",
        "4.1 KiB",
        "1d 1h",
        "queued",
        "2",
        "now",
        "<a@b.example>",
        "<x@example.com> +6",
        "smtp://10.0.0.5:25",
        "451 4.3.0 later",
    ]


@pytest.mark.parametrize(
    ("changes", "next_", "said"),
    [
        ({"status": "held", "reason": "by request"}, "", "by request"),
        ({"due": NOW + 91_800}, "1d 1h", "451 4.3.0 later"),
        ({"lane_paused_until": NOW + 91_800, "recipients": ()}, "1d 1h", "the lane is paused"),
        ({"lane_paused_until": NOW - 5}, "now", "451 4.3.0 later"),
    ],
)
def test_a_row_tells_what_the_delivery_waits_for(
    run: Run, relay: Relay, changes: dict[str, object], next_: str, said: str
) -> None:
    with relay(QueueListing(entries=(entry(**changes),))):
        (row,) = rows(run("queue", "list"))
    assert f"  {next_}" in row
    assert row.endswith(f"  {said}")


def test_a_listing_for_programs_is_a_list(run: Run, relay: Relay) -> None:
    with relay(QueueListing(entries=(entry(), entry(queue_id="X")), cut=True)):
        result = run("queue", "list", "--json", "--limit", "2")
    assert [each["queue_id"] for each in json.loads(result.stdout)] == ["5390N1", "X"]
    assert result.stderr == "edgerelay: cut at 2 deliveries: there are more (--limit)\n"
    assert result.exit_code == 0


def test_an_empty_queue_says_so(run: Run, relay: Relay) -> None:
    with relay(QueueListing(entries=())):
        assert run("queue", "list").stdout == "The queue is empty.\n"
        assert run("queue", "list", "--domain", "a.b").stdout == "Nothing matches.\n"
        assert run("queue", "list", "--json").stdout == "[]\n"


def test_every_filter_option_is_asked_for(run: Run, relay: Relay) -> None:
    with relay(QueueListing(entries=())) as asked:
        run(
            "queue", "list", "--domain", "Bücher.Example", "--from", "<a@b>", "--to", "x@y",
            "--lane", "mx", "--older", "1h", "--status", "held", "--limit", "5",
        )  # fmt: skip
        run("queue", "list", "--from", "<>")
    first, second = asked
    assert isinstance(first, QueueList)
    assert isinstance(second, QueueList)
    assert first.filter.older_than == pytest.approx(time.time() - 3600, abs=60)  # noqa: TID251 - as above
    assert first == QueueList(
        limit=5,
        filter=Filter(
            status=Status.HELD,
            domain="xn--bcher-kva.example",
            reverse_path="a@b",
            forward_path="x@y",
            lane="mx",
            older_than=first.filter.older_than,
        ),
    )
    assert second.filter == Filter(reverse_path="")


def test_a_message_is_shown_whole(run: Run, relay: Relay) -> None:
    shown = QueueMessage(entries=(entry(),), header="Subject: hello", header_cut=True)
    with relay(shown) as asked:
        result = run("queue", "show", "5390N1")
    assert asked == [QueueShow(queue_id="5390N1")]
    assert result.stdout.splitlines() == [
        "Message  5390N1, 4.1 KiB",
        "Arrived  1d 1h ago from [192.0.2.1] (client.example)",
        "From     <a@b.example>",
        "",
        "Lane     smtp://10.0.0.5:25: queued, tried 2 times, next now",
        "To       <x@example.com>: 451 4.3.0 later",
        "To       <y@example.com>",
        "",
        "Subject: hello",
        "[cut]",
    ]


def test_a_held_report_is_shown_as_one(run: Run, relay: Relay) -> None:
    held = entry(status="held", reason="no one to report to", about="A1", attempts=1)
    with relay(QueueMessage(entries=(held,))):
        shown = run("queue", "show", "X").stdout
    assert "from this relay: a report about A1" in shown
    assert "held (no one to report to), tried 1 time\n" in shown


def test_a_message_that_is_not_there(run: Run, relay: Relay) -> None:
    with relay(QueueMessage(entries=())):
        result = run("queue", "show", "X")
    assert (result.exit_code, result.stderr) == (1, "edgerelay: no message X in the queue\n")


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["flush"], QueueAct(action="flush", everything=True)),
        (["flush", "A", "B"], QueueAct(action="flush", ids=("A", "B"), everything=True)),
        (["hold", "A", "--reason", "why"], QueueAct(action="hold", ids=("A",), reason="why")),
        (["release", "--all"], QueueAct(action="release", everything=True)),
        (["delete", "--domain", "a.b"], QueueAct(action="delete", filter=Filter(domain="a.b"))),
        (
            ["delete", "--status", "held"],
            QueueAct(action="delete", filter=Filter(status=Status.HELD)),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_actions(run: Run, relay: Relay, arguments: list[str], request_: QueueAct) -> None:
    with relay(QueueActed(deliveries=2)) as asked:
        result = run("queue", *arguments)
    assert asked == [request_]
    assert result.exit_code == 0
    assert result.stdout.startswith("2 deliveries ")


def test_an_id_that_nobody_has_is_not_so(run: Run, relay: Relay) -> None:
    with relay(QueueActed(deliveries=1, missing=("B",))):
        result = run("queue", "delete", "A", "B")
        as_json = run("queue", "delete", "A", "B", "--json")
    assert result.exit_code == as_json.exit_code == 1
    assert result.stdout == "1 delivery deleted\n"
    assert result.stderr == "edgerelay: no message B in the queue\n"
    assert json.loads(as_json.stdout) == {"deliveries": 1, "missing": ["B"]}


def test_a_failure_is_told(run: Run, relay: Relay) -> None:
    with relay(Failure(text="worker 1 did not answer")):
        result = run("queue", "list")
    assert result.exit_code == 1
    assert result.stderr.endswith(": worker 1 did not answer\n")
