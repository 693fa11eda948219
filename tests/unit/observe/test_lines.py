"""One event is one line, whatever is in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerelay.observe import events
from edgerelay.observe.events import Delivery, Event, LaneUp, Trouble, WorkerEnded
from edgerelay.observe.lines import json_line, level_of, pretty_line

PAGE = Path(__file__).parents[3] / "docs" / "events.md"


def test_json_has_time_level_worker_and_event_first() -> None:
    line = json_line(1_800_000_000.1239, LaneUp(lane="mx:example.org"), 3)
    assert line == (
        b'{"time":"2027-01-15T08:00:00.123Z","level":"info","worker":3,'
        b'"event":"lane_up","lane":"mx:example.org"}\n'
    )


def test_a_supervisors_line_names_no_worker() -> None:
    assert b"worker" not in json_line(0, LaneUp(lane="mx"), None)


def test_an_event_about_a_worker_names_that_one() -> None:
    ended = WorkerEnded(worker=2, pid=7, status=-9, expected=False)
    assert json.loads(json_line(0, ended, None))["worker"] == 2
    assert json_line(0, ended, 1).count(b'"worker"') == 1


def test_a_terminal_shows_what_is_not_empty() -> None:
    trouble = Trouble(where="spool", what="disk nearly full")
    assert pretty_line(0, trouble, 0).decode() == (
        "\x1b[2m00:00:00.000\x1b[0m \x1b[33mtrouble       \x1b[0m "
        'where=spool what="disk nearly full" worker=0\n'
    )


def test_a_list_of_pairs_is_readable() -> None:
    delivery = Delivery(
        queue_id="A1",
        lane="mx",
        next_hop="192.0.2.1:25",
        outcome="failed",
        recipients=[("<a@b>", '550 5.1.1 "no"')],
        attempt=1,
        delay=0.25,
    )
    line = pretty_line(0, delivery, None).decode()
    assert 'recipients=[[<a@b>, "550 5.1.1 \\"no\\""]] attempt=1 delay=0.250\n' in line


HARMFUL = "\x00\x07\n\r\x1b\x7f\x85\x9b\u200b\u2028\u202e\u2066\ufeff"


@pytest.mark.parametrize("form", [json_line, pretty_line])
@pytest.mark.parametrize("text", [HARMFUL, "x\ud800y"], ids=["controls", "surrogate"])
def test_no_harmful_character_survives(form: object, text: str) -> None:
    assert callable(form)
    line = form(0, Trouble(where="x", what=text), None).decode()
    body = line.removesuffix("\n").replace("\x1b[2m", "").replace("\x1b[0m", "")
    body = body.replace("\x1b[33m", "")
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]", body)


@given(st.text())
def test_json_lines_are_one_line_of_json_and_keep_the_text(text: str) -> None:
    line = json_line(0, Trouble(where="x", what=text), None).decode()
    assert line.endswith("}\n")
    assert len(line.splitlines()) == 1
    assert json.loads(line)["what"] == text


LEVELS: list[tuple[Event, str]] = [
    (LaneUp(lane="x"), "info"),
    (events.LaneDown(lane="x", reason="", retry_in=1), "warning"),
    (events.Held(queue_id="x", lane="x", reason=""), "warning"),
    (events.Dropped(count=1), "warning"),
    (WorkerEnded(worker=0, pid=1, status=0, expected=True), "info"),
    (WorkerEnded(worker=0, pid=1, status=-9, expected=False), "error"),
]


@pytest.mark.parametrize(("event", "level"), LEVELS)
def test_levels(event: Event, level: str) -> None:
    assert level_of(event) == level


def test_the_page_of_events_has_each_event_with_its_fields() -> None:
    row = re.compile(r"\| `(\w+)` \| .* \| (`.*`) \|")
    documented = {
        match[1]: re.findall(r"`(\w+)`", match[2])
        for match in map(row.fullmatch, PAGE.read_text().splitlines())
        if match
    }
    assert documented == {
        str(kind.__struct_config__.tag): [field.name for field in msgspec.structs.fields(kind)]
        for kind in Event.__subclasses__()
    }
