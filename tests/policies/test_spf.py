"""What SPF is asked of, what it says to the client, and what it publishes."""

from __future__ import annotations

import pytest

from edgerelay.mail.address import Mailbox
from edgerelay.policy import CONTINUE, Defer, Reject, SpfOutcome
from edgerelay.testing.literal_dns import Fault, LiteralResolver, Zone
from edgerelay_policies.spf import SpfOptions
from tests.policies.spf_support import mail, spf

ZONE: Zone = {
    ("good.test", "TXT"): [(b"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",)],
    ("explained.test", "TXT"): [(b"v=spf1 -all exp=why.explained.test",)],
    ("why.explained.test", "TXT"): [(b"%{i} is not us: see https://explained.test/?s=%{S}",)],
    ("soft.test", "TXT"): [(b"v=spf1 ~all",)],
    ("neutral.test", "TXT"): [(b"v=spf1 ?all",)],
    ("broken.test", "TXT"): [(b"v=spf1 nonsense -all",)],
    ("silent.test", "TXT"): Fault.SERVFAIL,
    ("by-user.test", "TXT"): [(b"v=spf1 exists:%{l}.users.test -all",)],
    ("joe.users.test", "A"): ["127.0.0.2"],
    ("postmaster.users.test", "A"): ["127.0.0.2"],
    ("quoted.test", "TXT"): [(b"v=spf1 ip4:192.0.2.1 -all",)],
}
GOOD, BAD = "192.0.2.1", "198.51.100.1"
TAG = SpfOptions(on_fail="tag", on_softfail="tag", on_temperror="tag", on_permerror="tag")


def dns() -> LiteralResolver:
    return LiteralResolver(ZONE)


async def test_a_pass_is_no_objection_and_evidence() -> None:
    said = await mail(spf(dns()), GOOD, "joe@good.test")
    assert said.verdict is CONTINUE
    assert said.result.mail_from is not None
    assert said.result.mail_from.outcome is SpfOutcome.PASS
    assert said.result.mail_from.domain == "good.test"
    assert said.result.helo is not None
    assert said.result.helo.outcome is SpfOutcome.NONE
    assert [
        (result.result, result.properties) for result in said.result.authentication_results
    ] == [
        ("pass", (("smtp.mailfrom", "joe@good.test"),)),
        ("none", (("smtp.helo", "mx.sender.test"),)),
    ]


async def test_a_fail_is_refused() -> None:
    said = await mail(spf(dns()), BAD, "joe@Good.test")
    assert isinstance(said.verdict, Reject)
    assert str(said.verdict.reply) == (
        "550 5.7.23 SPF check of MAIL FROM failed: 198.51.100.1 may not send for good.test"
    )
    assert said.result.mail_from is not None
    assert said.result.mail_from.reason == "matches -all"


async def test_a_fail_is_explained_by_the_domains_owner() -> None:
    said = await mail(spf(dns()), BAD, "joe@explained.test")
    assert isinstance(said.verdict, Reject)
    assert said.verdict.reply.text.endswith(
        "may not send for explained.test; it explains:"
        " 198.51.100.1 is not us: see https://explained.test/?s=joe%40explained.test"
    )


@pytest.mark.parametrize(
    ("sender", "option", "codes"),
    [
        ("joe@good.test", "on_fail", ("451 4.7.23", "550 5.7.23")),
        ("joe@soft.test", "on_softfail", ("451 4.7.23", "550 5.7.23")),
        ("joe@silent.test", "on_temperror", ("451 4.7.24", "550 5.7.24")),
        ("joe@broken.test", "on_permerror", ("451 4.7.24", "550 5.7.24")),
    ],
)
async def test_what_follows_is_an_option(sender: str, option: str, codes: tuple[str, str]) -> None:
    for action, code in zip(("defer", "reject"), codes, strict=True):
        options = SpfOptions(**{**{name: "tag" for name in _ACTIONS}, option: action})  # type: ignore[arg-type]
        verdict = (await mail(spf(dns(), options), BAD, sender)).verdict
        assert isinstance(verdict, Defer | Reject)
        assert str(verdict.reply).startswith(code)
    assert (await mail(spf(dns(), TAG), BAD, sender)).verdict is CONTINUE


_ACTIONS = ("on_fail", "on_softfail", "on_temperror", "on_permerror")


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("joe@soft.test", None),
        ("joe@neutral.test", None),
        ("joe@nowhere.test", None),
        ("joe@broken.test", None),
        ("joe@silent.test", "451 4.7.24 SPF check of MAIL FROM: the DNS did not answer for"),
    ],
)
async def test_by_default_only_a_fail_is_refused_and_a_dead_dns_defers(
    sender: str, expected: str | None
) -> None:
    verdict = (await mail(spf(dns()), BAD, sender)).verdict
    if expected is None:
        assert verdict is CONTINUE
    else:
        assert isinstance(verdict, Defer)
        assert str(verdict.reply).startswith(expected)


async def test_a_forged_helo_name_is_refused_whatever_the_sender() -> None:
    said = await mail(spf(dns()), BAD, "joe@neutral.test", helo="good.test")
    assert isinstance(said.verdict, Reject)
    assert said.verdict.reply.text.startswith("SPF check of HELO failed")
    assert len(said.result.checks) == 2


@pytest.mark.parametrize("helo", ["soft.test", "broken.test", "silent.test"])
async def test_of_a_helo_name_nothing_but_a_fail_counts(helo: str) -> None:
    all_rejected = SpfOptions(on_softfail="reject", on_temperror="reject", on_permerror="reject")
    said = await mail(spf(dns(), all_rejected), GOOD, "joe@good.test", helo=helo)
    assert said.verdict is CONTINUE


async def test_helo_need_not_be_checked() -> None:
    options = SpfOptions(check_helo=False)
    said = await mail(spf(dns(), options), BAD, "joe@neutral.test", helo="good.test")
    assert said.verdict is CONTINUE
    assert [check.identity for check in said.result.checks] == ["mailfrom"]


async def test_a_null_reverse_path_stands_for_the_postmaster_of_the_helo_domain() -> None:
    resolver = dns()
    said = await mail(spf(resolver), GOOD, None, helo="by-user.test")
    assert [(check.outcome, check.text) for check in said.result.checks] == [
        (SpfOutcome.PASS, "by-user.test"),
        (SpfOutcome.PASS, "postmaster@by-user.test"),
    ]
    assert len(resolver.asked) == 2  # both are one evaluation
    refused = await mail(spf(dns(), SpfOptions(check_helo=False)), BAD, None, helo="good.test")
    assert isinstance(refused.verdict, Reject)


@pytest.mark.parametrize("helo", ["[192.0.2.1]", "localhost", "", "a..b", "x" * 64 + ".test"])
async def test_a_helo_that_is_no_domain_gives_none_and_no_question(helo: str) -> None:
    resolver = dns()
    said = await mail(spf(resolver), BAD, None, helo=helo)
    assert said.verdict is CONTINUE
    assert {check.outcome for check in said.result.checks} == {SpfOutcome.NONE}
    assert resolver.asked == []


async def test_who_is_trusted_is_not_asked_about() -> None:
    trusted = await mail(spf(dns()), BAD, "joe@good.test", is_trusted=True)
    authenticated = await mail(spf(dns()), BAD, "joe@good.test", is_authenticated=True)
    for said in trusted, authenticated:
        assert said.verdict is CONTINUE
        assert said.result.checks == ()
    options = SpfOptions(skip_trusted=False)
    said = await mail(spf(dns(), options), BAD, "joe@good.test", is_trusted=True)
    assert isinstance(said.verdict, Reject)


async def test_without_an_address_there_is_nothing_to_check() -> None:
    said = await mail(spf(dns(), SpfOptions(skip_trusted=False)), None, "joe@good.test")
    assert said.verdict is CONTINUE
    assert said.result.checks == ()


async def test_a_mapped_address_is_the_ipv4_address() -> None:
    said = await mail(spf(dns()), f"::ffff:{GOOD}", "joe@good.test")
    assert said.result.mail_from is not None
    assert said.result.mail_from.outcome is SpfOutcome.PASS
    refused = (await mail(spf(dns()), f"::ffff:{BAD}", "joe@good.test")).verdict
    assert isinstance(refused, Reject)
    assert " 198.51.100.1 may not send" in refused.reply.text


async def test_a_quoted_local_part_may_hold_an_at_sign() -> None:
    # ... and must not choose whose policy is asked.
    sender = Mailbox('"x@evil.test"', "quoted.test")
    said = await mail(spf(dns()), BAD, sender)
    assert isinstance(said.verdict, Reject)
    assert said.result.mail_from is not None
    assert said.result.mail_from.domain == "quoted.test"


async def test_an_internationalised_domain_is_asked_for_by_its_a_labels() -> None:
    resolver = LiteralResolver({("xn--mller-kva.test", "TXT"): [(b"v=spf1 -all",)]})
    said = await mail(spf(resolver), BAD, Mailbox("jörg", "müller.test"))
    assert isinstance(said.verdict, Reject)
    assert said.verdict.reply.text.endswith("for xn--mller-kva.test")


async def test_a_local_part_that_is_not_ascii_matches_no_macro() -> None:
    # RFC 8616 section 4
    assert isinstance(
        (await mail(spf(dns()), BAD, Mailbox("jörg", "by-user.test"))).verdict, Reject
    )


async def test_an_explanation_cannot_leave_its_line() -> None:
    hostile = b"x\r\n250 2.0.0 accepted\x00\x1b[31m " + b"y" * 300
    zone: Zone = {
        ("evil.test", "TXT"): [(b"v=spf1 -all exp=e.evil.test",)],
        ("e.evil.test", "TXT"): [(hostile,)],
    }
    verdict = (await mail(spf(LiteralResolver(zone)), BAD, "joe@evil.test")).verdict
    assert isinstance(verdict, Reject)
    assert verdict.reply.more == ()
    assert verdict.reply.text.isascii()
    assert verdict.reply.text.isprintable()
    assert len(verdict.reply.octets) < 450
