"""How results look."""

from __future__ import annotations

import pytest

from edgerelay.cli.output import (
    complain,
    octets_text,
    plural,
    print_json,
    print_table,
    seconds_text,
)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (4200, "4.1 KiB"),
        (200_000, "195 KiB"),
        (50 * 2**20, "50.0 MiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_sizes_for_people(octets: int, text: str) -> None:
    assert octets_text(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (12_000, "3h 20m"), (439_200, "5d 2h")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_one_is_singular() -> None:
    assert plural(1, "event", "events") == "1 event"
    assert plural(1200, "event", "events") == "1,200 events"


def test_a_complaint_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    complain("a\nb\x1b[2J")
    assert capsys.readouterr() == ("", "edgerelay: a\\nb\\x1b[2J\n")


def test_columns_are_as_wide_as_what_is_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "Long"], [["wide cell", "x"], ["y", ""]])
    assert capsys.readouterr().out == "A          Long\nwide cell  x\ny\n"


def test_a_terminal_gets_a_drawn_table_without_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table(["A"], [["[red]text[/red]"]])
    drawn = capsys.readouterr().out
    assert "[red]text[/red]" in drawn
    assert "─" in drawn


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1]})
    assert capsys.readouterr().out == '{"a":[1]}\n'
