"""The policy `dkim`: what it asks the DNS, where it works, and what follows from results."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from edgerelay.pipeline.loading import problems
from edgerelay.pipeline.settings import PolicySettings
from edgerelay.policy import (
    CONTINUE,
    Answer,
    Defer,
    DkimOutcome,
    DkimResult,
    MessageVerdict,
    Reject,
)
from edgerelay.testing.cancel import cancel_at_every_checkpoint
from edgerelay.testing.literal_dns import Fault, LiteralResolver, Zone
from edgerelay.testing.messages import build_message, dkim_records, sign
from edgerelay_policies.dkim import verifying
from edgerelay_policies.dkim.policy import INLINE
from tests.policies.dkim_support import DOMAIN, KEY, KEY_NAME, RSA, ask, signed, zone_of

TAMPERED = signed().replace(b"this is", b"that was")
#: Its key cannot be fetched.
DOWN: Zone = {(KEY_NAME, "TXT"): Fault.SERVFAIL}


def code_of(verdict: MessageVerdict) -> str:
    if isinstance(verdict, Defer | Reject):
        return f"{verdict.reply.code} {verdict.reply.enhanced}"
    assert verdict is CONTINUE
    return "continue"


async def test_without_a_signature_the_result_is_none_and_nobody_is_asked() -> None:
    dns = LiteralResolver({})
    said = await ask(build_message(), dns=dns, on_fail="reject", on_permerror="reject")
    assert said.verdict is CONTINUE
    assert said.result == DkimResult(())
    assert [each.result for each in said.result.authentication_results] == ["none"]
    assert dns.asked == []


@pytest.mark.parametrize(
    ("message", "zone", "outcome"),
    [
        (TAMPERED, zone_of(), "fail"),
        (signed(), DOWN, "temperror"),
        (signed(), {}, "permerror"),
        (signed(), {(KEY_NAME, "TXT"): []}, "permerror"),  # no data
        (signed(), zone_of(), "pass"),
        (signed(tags={"x": "1"}), zone_of(), "policy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("action", ["tag", "defer", "reject"])
async def test_each_result_has_its_action(
    message: bytes, zone: Zone, outcome: str, action: str
) -> None:
    options: dict[str, Any] = {f"on_{name}": action for name in ("fail", "temperror", "permerror")}
    said = await ask(message, zone, **options)
    assert [each.outcome.value for each in said.result.signatures] == [outcome]
    refused = outcome in ("fail", "temperror", "permerror") and action != "tag"
    transient = "451 4.7.5" if outcome == "temperror" else "451 4.7.20"
    wanted = {"defer": transient, "reject": "550 5.7.20"}[action] if refused else "continue"
    assert code_of(said.verdict) == wanted


async def test_by_default_nothing_is_refused() -> None:
    for message, zone in ((TAMPERED, zone_of()), (signed(), DOWN), (signed(), {})):
        assert (await ask(message, zone)).verdict is CONTINUE


async def test_one_pass_is_enough() -> None:
    """RFC 6376 section 6.1: a bad signature counts for no more than none at all."""
    message = sign(signed(), "other.example", "none", KEY)
    said = await ask(message, on_fail="reject", on_permerror="reject")
    assert said.words == ["permerror no key for signature", "pass"]
    assert said.verdict is CONTINUE
    assert [each.domain for each in said.result.passed] == [DOMAIN]


async def test_what_may_yet_pass_comes_before_what_failed() -> None:
    message = sign(TAMPERED, "down.example", "s", KEY)
    zone = {**zone_of(), ("s._domainkey.down.example", "TXT"): Fault.SERVFAIL}
    said = await ask(message, zone, on_temperror="defer", on_fail="reject")
    assert said.words == ["temperror key could not be fetched", "fail body hash did not verify"]
    assert code_of(said.verdict) == "451 4.7.5"
    said = await ask(message, zone, on_fail="reject")
    assert code_of(said.verdict) == "550 5.7.20"


async def test_who_only_tests_is_as_who_does_not_sign() -> None:
    """RFC 6376 section 3.6.1, t=y."""
    testing = zone_of(more="t=y; ")
    said = await ask(TAMPERED, testing, on_fail="reject")
    assert said.words == ["fail body hash did not verify"]
    assert said.verdict is CONTINUE
    strict = await ask(
        signed(tags={"i": "@a.sender.example"}), zone_of(more="t=y:s; "), on_permerror="reject"
    )
    assert strict.verdict is CONTINUE
    # nor does its pass make up for another's fail
    message = sign(TAMPERED, "try.example", "s", KEY)
    zone = {**zone_of(), **dkim_records("try.example", "s", KEY, more="t=y; ")}
    said = await ask(message, zone, on_fail="reject")
    assert said.words == ["pass", "fail body hash did not verify"]
    assert code_of(said.verdict) == "550 5.7.20"


async def test_no_more_signatures_are_looked_at_than_allowed() -> None:
    message = build_message()
    zone: dict[tuple[str, str], Any] = {}
    for number in range(8):
        message = sign(message, f"d{number}.example", "s", KEY)
        zone |= dkim_records(f"d{number}.example", "s", KEY)
    dns = LiteralResolver(zone)
    said = await ask(message, dns=dns, max_signatures=3)
    assert [each.domain for each in said.result.signatures] == [
        "d7.example",
        "d6.example",
        "d5.example",
    ]
    assert said.result.more == 5
    assert len(dns.asked) == 3
    assert (await ask(message, zone)).result.more == 3


async def test_keys_are_asked_for_at_once_and_each_once(autojump_clock: MockClock) -> None:
    class Slow(LiteralResolver):
        async def resolve(self, name: str, rdtype: str) -> Answer:
            await trio.sleep(0.03)
            return await super().resolve(name, rdtype)

    message = sign(signed(signed()), "other.example", "s", KEY)
    dns = Slow({**zone_of(), **dkim_records("other.example", "s", KEY)})
    started = trio.current_time()
    said = await ask(message, dns=dns)
    assert said.words == ["pass", "pass", "pass"]
    assert trio.current_time() - started == pytest.approx(0.03)
    assert sorted(dns.asked) == [("s._domainkey.other.example", "TXT"), (KEY_NAME, "TXT")]


async def test_a_body_is_not_read_for_a_signature_without_a_key() -> None:
    said = await ask(signed(), {}, in_memory=False)
    assert said.words == ["permerror no key for signature"]
    assert said.threads == 0


@pytest.mark.parametrize("length", [None, 100_000])
async def test_small_messages_are_verified_at_once_and_others_in_a_thread(
    length: int | None,
) -> None:
    text = "".join("ab \t\n"[n * n % 7 % 5] for n in range(600_000))
    for size, in_memory, threads in (
        (1000, True, 0),
        (INLINE, True, 1),
        (600_000, True, 1),
        (1000, False, 2),
        (600_000, False, 4),
    ):
        body = text[:size]
        message = signed(build_message(body=body), length=length and min(length, size // 2))
        said = await ask(message, in_memory=in_memory)
        assert (said.words, said.threads) == (["pass"], threads), size
        said = await ask(message + b"x\r\n", in_memory=in_memory)
        assert said.words == (["fail body hash did not verify"] if length is None else ["pass"])


async def test_several_signatures_share_one_reading_of_the_body() -> None:
    message = signed()
    for form in ("simple/simple", "relaxed/simple", "simple/relaxed"):
        message = sign(message, DOMAIN, "s1", KEY, canonicalization=form, length=None)
    message = signed(message, length=10)
    said = await ask(message, in_memory=False)
    assert said.words == ["pass"] * 5
    assert said.threads == 2  # one piece, and the end


async def test_it_may_be_cancelled_anywhere() -> None:
    body = "line\n" * 100_000
    message = sign(signed(build_message(body=body)), "other.example", "s", KEY)
    zone = {**zone_of(), **dkim_records("other.example", "s", KEY)}

    async def once() -> None:
        await ask(message, zone, in_memory=False)

    assert await cancel_at_every_checkpoint(once) > 2


async def test_what_nobody_has_thought_of_is_an_error_of_the_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """dkimpy lets IndexError, binascii.Error and others escape for some input."""

    def broken(*_: object) -> bool:
        raise IndexError("string index out of range")

    monkeypatch.setattr(verifying, "header_verifies", broken)
    said = await ask(signed())
    assert said.words == ["permerror not verifiable"]
    assert said.log == ["signature not verifiable"]


async def test_rsa_and_ed25519_stand_side_by_side() -> None:
    """RFC 8463 section 3: who knows only one of them still finds it."""
    message = sign(signed(key=RSA), DOMAIN, "ed", KEY)
    said = await ask(message, {**zone_of(RSA), **dkim_records(DOMAIN, "ed", KEY)})
    assert said.words == ["pass", "pass"]
    assert [each.algorithm for each in said.result.signatures] == ["ed25519-sha256", "rsa-sha256"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"on_fail": "drop"}, 'allowed: "tag", "defer", "reject"'),
        ({"max_signatures": 0}, "max_signatures is a number from 1 to 20"),
        ({"max_signatures": 21}, "max_signatures is a number from 1 to 20"),
        ({"min_rsa_bits": 512}, "min_rsa_bits is a number from 1024 to 4096"),
        ({"min_rsa_bits": "2048"}, "expected a whole number"),
        ({"on_failure": "tag"}, 'unknown key; did you mean "on_fail"?'),
    ],
)
def test_options_are_checked_by_their_file(options: dict[str, object], text: str) -> None:
    (problem,) = problems([PolicySettings("dkim", "dkim", options=options)])
    assert problem.text == text
    assert not problems([PolicySettings("dkim", "dkim", options={"min_rsa_bits": 2048})])


def test_every_outcome_is_a_word_of_the_rfc() -> None:
    """RFC 8601 section 2.7.1."""
    words = {"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"}
    assert {outcome.value for outcome in DkimOutcome} == words
