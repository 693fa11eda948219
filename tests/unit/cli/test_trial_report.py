"""What was seen of a trial, in an operator's words."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from edgerelay.cli.trial_report import RecipientReport, Report, Step, report
from edgerelay.observe.events import Trouble
from tests.unit.cli.trials import CONTENT, tried

pytestmark = pytest.mark.usefixtures("kitchen")


def said(told: Report) -> list[tuple[str, str, str, str]]:
    return [(step.stage, step.policy, step.verdict, step.detail) for step in told.steps]


async def test_every_policy_asked_has_its_row_in_the_order_of_the_stages() -> None:
    told = report(await tried("labeller", "gourmet", "painter"))
    assert said(told) == [
        ("mail", "painter", "continue", ""),
        ("rcpt", "gourmet", "continue", ""),
        ("message", "labeller", "tag", "Prepend AddScore Remove"),
    ]
    painter = told.steps[0]
    assert painter.evidence == ("x-colour=pass smtp.colour=red",)
    assert (painter.mode, painter.recipient) == ("enforce", "")
    assert painter.seconds is not None
    assert told.steps[1].recipient == "<x@example.com>"


async def test_fields_that_come_and_go_are_shown_whole() -> None:
    told = report(await tried("painter", "labeller"))
    assert told.added == (
        "Authentication-Results: mx.test; x-colour=pass smtp.colour=red",
        f"X-Label: {len(CONTENT)} octets",
    )
    assert told.removed == (
        "X-Old: one\n two",
        "Authentication-Results: mx.test; spf=pass",
    )
    assert told.score == 1.5
    assert told.next_hops == ()


async def test_whoever_comes_after_the_decider_was_not_asked() -> None:
    told = report(await tried("judge", "labeller"))
    assert said(told) == [
        ("message", "judge", "reject", "550 5.7.1 Never"),
        ("message", "labeller", "not asked", "it was decided before"),
    ]
    assert told.steps[1].seconds is None
    assert (told.added, told.removed) == ((), ())


async def test_who_was_at_work_when_it_was_decided_was_cancelled(
    autojump_clock: MockClock,
) -> None:
    told = report(await tried('guard\nwhere = "mail"\nwait = "2s"', "sleeper"))
    at_mail = [step for step in told.steps if step.stage == "mail"]
    assert [(step.verdict, step.detail, step.seconds) for step in at_mail] == [
        ("reject", "550 5.7.1 Not you", 2),
        ("cancelled", "its answer was not needed", 2),
    ]
    assert told.seconds == 2


async def test_a_failure_tells_why_and_what_stood_for_the_answer(
    autojump_clock: MockClock,
) -> None:
    told = report(await tried('sleeper\ntimeout = "2s"\non_error = "continue"', "raiser"))
    assert said(told) == [
        ("mail", "sleeper", "failed", "timeout; on_error: continue"),
        (
            "message",
            "raiser",
            "failed",
            "RuntimeError: the secret of the raiser; on_error: defer",
        ),
    ]
    assert told.recipients == (
        RecipientReport(
            "<x@example.com>",
            "deferred",
            "message",
            "451 4.3.0 Local error in processing, try again later",
            "raiser",
            "",
        ),
    )
    assert told.seconds == 2
    assert not told.is_accepted


async def test_an_observer_that_disagrees_is_marked() -> None:
    told = report(await tried('judge\nmode = "observe"', 'judge\nhow = "accept"'))
    assert told.steps[0] == Step(
        "message",
        "",
        "judge",
        "observe",
        "reject",
        "550 5.7.1 Never; enforced, it would decide",
        (),
        told.steps[0].seconds,
    )
    assert told.is_accepted


async def test_an_observer_that_is_too_slow_is_no_reason_to_wait(
    autojump_clock: MockClock,
) -> None:
    told = report(await tried('sleeper\nmode = "observe"\ntimeout = "1s"'))
    detail = "timeout; on_error: defer; enforced, it would decide"
    assert said(told) == [("mail", "sleeper", "failed", detail)]


async def test_each_recipient_is_told_of_in_the_order_given() -> None:
    to = ("later@example.com", "x@example.com", "x@elsewhere.test")
    told = report(await tried("painter", "gourmet", to=to))
    assert [(each.forward_path, each.outcome, each.policy) for each in told.recipients] == [
        ("<later@example.com>", "deferred", "gourmet"),
        ("<x@example.com>", "accepted", ""),
        ("<x@elsewhere.test>", "rejected", ""),
    ]
    asked = [(step.recipient, step.verdict) for step in told.steps if step.stage == "rcpt"]
    assert asked == [("<later@example.com>", "defer"), ("<x@example.com>", "continue")]


async def test_verdicts_by_recipient_are_told_apart() -> None:
    told = report(await tried("split", to=("hold@example.com", "x@example.com")))
    (step,) = told.steps
    assert (step.verdict, step.detail) == ("by recipient", "<hold@example.com> hold for you")


async def test_notes_are_ours_then_the_policies_and_the_relays() -> None:
    found = await tried("painter", "keeper")
    found.events.append(Trouble(where="dns", what="a question failed", detail="x"))
    told = report(found, ["ours"])
    assert told.notes == ("ours", "keeper: kept path=<x@example.com>", "dns: a question failed x")


async def test_what_strangers_wrote_is_escaped() -> None:
    content = b"X-Old: \x1b[2J\xff\r\n\tfold\r\n\r\n"
    told = report(await tried("labeller", content=content))
    assert told.removed == ("X-Old: \\x1b[2J\\xff\n fold",)
