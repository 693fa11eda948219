"""A flood is told in sums; what somebody may ask for is told line by line."""

from __future__ import annotations

from typing import Any

from edgerelay.observe.events import (
    Event,
    RecipientRefused,
    SessionEnded,
    Shed,
    Trouble,
    TurnedAway,
)
from edgerelay.observe.pace import BURST, RATE, Pace


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def session(end: str = "lost", **changes: Any) -> SessionEnded:
    facts = {"accepted": 0, "refused": 0, "errors": 0, "octets": 0, "duration": 0.0, **changes}
    return SessionEnded(
        session="S", client="192.0.2.1:1", listener="l", helo="", tls="", end=end, **facts
    )


def refusal(reply: str) -> RecipientRefused:
    return RecipientRefused(
        session="S",
        client="192.0.2.1:1",
        helo="",
        command="mail",
        reverse_path="",
        forward_path="",
        reply=reply,
    )


def paced() -> tuple[Pace, list[Event], Clock]:
    lines, clock = list[Event](), Clock()
    return Pace(lines.append, clock), lines, clock


def test_an_ordinary_day_has_every_line_and_no_sum() -> None:
    pace, lines, clock = paced()
    for _ in range(1000):
        clock.now += 1 / RATE
        pace(session())
    pace.tell()
    assert len(lines) == 1000


def test_a_flood_of_empty_sessions_is_cut_and_summed_up() -> None:
    pace, lines, clock = paced()
    for number in range(BURST + 1000):
        pace(session("lost" if number % 2 else "protocol"))
    clock.now += 10
    pace.tell()
    assert len(lines) == BURST + 1
    assert lines[-1] == Shed(refused={}, unwritten={"lost": 500, "protocol": 500}, seconds=10.0)
    pace.tell()
    assert len(lines) == BURST + 1  # told once


def test_what_was_refused_to_protect_us_is_summed_up_by_its_cause() -> None:
    pace, lines, clock = paced()
    pace(session("too many connections"))
    pace(TurnedAway(client="192.0.2.1:1", listener="l", why="full"))
    for _ in range(BURST):
        pace(refusal("452 4.3.1 Insufficient system storage"))
    clock.now += 4
    pace.tell()
    assert lines[-1] == Shed(
        refused={"too many connections": 1, "full": 1, "no room": BURST},
        unwritten={"no room": 2},
        seconds=4.0,
    )


def test_mail_and_refusals_have_their_lines_whatever_comes_beside_them() -> None:
    pace, lines, _ = paced()
    for _ in range(2 * BURST):
        pace(session())
    wanted = [
        session(accepted=1),
        session(refused=1),
        refusal("550 5.1.1 no"),
        refusal("452 4.5.3 Too many recipients"),
        Trouble(where="edge", what="x"),
    ]
    for event in wanted:
        pace(event)
    assert lines[BURST:] == wanted


def test_a_clock_set_back_silences_nothing_for_long() -> None:
    pace, lines, clock = paced()
    for _ in range(BURST):
        pace(session())
    clock.now -= 3600
    pace(session())
    clock.now += 1
    pace(session())
    assert len(lines) == BURST + 1
