"""A trial ends as the session of a relay would."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from trio.testing import MockClock

from edgerelay.cli.trial import Fate, Trial, attempt
from edgerelay.config import parse
from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.pipeline.policies import NotOpened
from edgerelay.policy import Stage
from tests.unit.cli.trials import CONTENT, configuration, path, tried

pytestmark = pytest.mark.usefixtures("kitchen")
X, LATER = path("x@example.com"), path("later@example.com")


def fate(found: Fate) -> tuple[str, str, str, str]:
    return found.outcome, found.stage.name, str(found.reply)[:9], found.policy


async def test_without_policies_a_message_for_our_domain_is_accepted() -> None:
    found = await tried()
    assert fate(found.fates[X]) == ("accepted", "MESSAGE", "250 2.0.0", "")
    assert found.judgement is not None
    assert found.traces == []


async def test_a_domain_that_is_not_ours_is_the_relays_own_word() -> None:
    found = await tried("painter", to=("x@elsewhere.test",))
    assert fate(found.fates[path("x@elsewhere.test")]) == ("rejected", "RCPT", "550 5.7.1", "")
    assert found.judgement is None
    assert (Stage.MESSAGE, None) not in found.reached


async def test_a_trusted_client_may_send_anywhere() -> None:
    trust = '[access]\nrelay_from = ["192.0.2.0/24"]\n'
    found = await tried(to=("x@elsewhere.test",), also=trust)
    assert found.is_trusted
    assert found.fates[path("x@elsewhere.test")].outcome == "accepted"


async def test_each_recipient_has_a_fate_of_its_own() -> None:
    found = await tried("painter", "gourmet", to=("x@example.com", "later@example.com"))
    assert fate(found.fates[X]) == ("accepted", "MESSAGE", "250 2.0.0", "")
    assert fate(found.fates[LATER]) == ("deferred", "RCPT", "451 4.7.1", "gourmet")


async def test_without_recipients_the_message_is_not_asked_about() -> None:
    found = await tried('painter\ncolour = "blue"', "gourmet", "labeller")
    assert fate(found.fates[X]) == ("rejected", "RCPT", "550 5.7.1", "gourmet")
    assert [stage.name for stage, _ in found.reached] == ["CONNECT", "EHLO", "MAIL", "RCPT"]


@pytest.mark.parametrize(
    ("policies", "outcome", "reply"),
    [
        (("split",), ["held", "discarded", "reported", "accepted", "accepted"], "250 2.0.0"),
        (("judge\nhow = \"defer\"",), ["deferred"] * 5, "451 4.7.1"),
        (("judge\nhow = \"reject\"",), ["rejected"] * 5, "550 5.7.1"),
        (("judge\nhow = \"hold\"",), ["held"] * 5, "250 2.0.0"),
        (("judge\nhow = \"discard\"",), ["discarded"] * 5, "250 2.0.0"),
        (("judge\nhow = \"accept\"", "judge\nhow = \"reject\""), ["accepted"] * 5, "250 2.0.0"),
    ],
)  # fmt: skip
async def test_verdicts_on_the_message_become_what_the_relay_makes_of_them(
    policies: tuple[str, ...], outcome: list[str], reply: str
) -> None:
    to = [f"{name}@example.com" for name in ("hold", "discard", "reject", "defer", "x")]
    found = await tried(*policies, to=tuple(to))
    assert [found.fates[path(each)].outcome for each in to] == outcome
    assert str(found.fates[path(to[0])].reply).startswith(reply)
    if policies == ("split",):
        why = [found.fates[path(each)].why for each in to]
        assert why == [
            "for you",
            "for you",
            "others were accepted, so the sender gets a report",
            "others were accepted, so not deferred with 451 4.7.1 Later",
            "",
        ]


@pytest.mark.parametrize("where", ["connect", "ehlo", "mail"])
@pytest.mark.parametrize("delayed", [True, False])
async def test_an_early_refusal_is_said_at_rcpt_or_at_once(where: str, delayed: bool) -> None:
    limits = f"[limits]\ndelay_reject = {str(delayed).lower()}\n"
    found = await tried(f'guard\nwhere = "{where}"', also=limits)
    expected = "RCPT" if delayed else where.upper()
    code = "554 5.7.1" if where == "connect" and not delayed else "550 5.7.1"
    assert fate(found.fates[X]) == ("rejected", expected, code, "guard")


@pytest.mark.parametrize(
    ("content", "also", "reply"),
    [
        (b"a: b\r\n\r\nbare\nlf\r\n", "", "550 5.6.11"),
        (CONTENT, '[limits]\nmessage_size = "10B"\n', "552 5.3.4"),
        (b"x" * 1000 + b"\r\n", '[limits]\nlong_lines = "reject"\n', "550 5.6.0"),
        (b"Received: by x\r\n" * 101 + b"\r\n", "", "554 5.4.6"),
    ],
)
async def test_what_is_wrong_with_its_form_is_wrong_before_anybody_is_asked(
    content: bytes, also: str, reply: str
) -> None:
    found = await tried("labeller", content=content, also=also)
    assert str(found.fates[X].reply).startswith(reply)
    assert found.fates[X].policy == ""
    assert found.traces == []


async def test_a_message_from_the_recipients_own_mailbox_can_be_tried() -> None:
    found = await tried("labeller", content=b"Delivered-To: %b\r\n\r\n" % str(X.mailbox).encode())
    assert found.fates[X].outcome == "accepted"


async def test_dots_and_large_messages_arrive_as_they_are() -> None:
    content = b"Subject: x\r\n\r\n" + b".\r\n..\r\n" + b"y" * 70 + b"\r\n" * 200_000
    found = await tried("labeller", content=content)
    assert found.fates[X].outcome == "accepted"
    assert found.judgement is not None
    assert b"X-Label: %d octets" % len(content) in found.judgement.edited.prepend


async def test_nobody_waits_for_an_observer_but_it_is_seen(autojump_clock: MockClock) -> None:
    found = await tried('sleeper\nmode = "observe"', 'painter\nmode = "observe"')
    assert found.seconds == 0
    assert len(found.traces) == 2


async def test_a_policy_that_cannot_be_opened_ends_the_trial_by_name() -> None:
    config = parse(configuration("painter", "closed"), "e.toml")
    trial = Trial(ip_address("::1"), "h", NULL_REVERSE_PATH, (X,), CONTENT)
    found = await attempt(config, trial)
    assert isinstance(found, NotOpened)
    assert found.policy == "closed"
