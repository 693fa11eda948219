"""Results say of themselves what stands in Authentication-Results (RFC 8601)."""

from __future__ import annotations

from edgerelay.policy import (
    AuthenticationResult,
    DkimOutcome,
    DkimResult,
    DkimSignature,
    Evidence,
    SpfCheck,
    SpfOutcome,
    SpfResult,
)


def test_spf_names_the_identity_it_asked_of() -> None:
    helo = SpfCheck("helo", SpfOutcome.NONE, "mx.example", "mx.example")
    mail = SpfCheck("mailfrom", SpfOutcome.FAIL, "a.example", "u@a.example", "not designated")
    result = SpfResult((helo, mail))
    assert (result.helo, result.mail_from) == (helo, mail)
    assert result.authentication_results == (
        AuthenticationResult("spf", "fail", (("smtp.mailfrom", "u@a.example"),), "not designated"),
        AuthenticationResult("spf", "none", (("smtp.helo", "mx.example"),)),
    )
    assert SpfResult(()).mail_from is None


def test_dkim_has_a_result_for_each_signature_or_none() -> None:
    assert DkimResult(()).authentication_results == (AuthenticationResult("dkim", "none"),)
    good = DkimSignature(DkimOutcome.PASS, "a.example", "sel", "", "rsa-sha256", "AbCdEfGh")
    bad = DkimSignature(DkimOutcome.PERMERROR, reason="no key")
    result = DkimResult((good, bad))
    assert result.passed == (good,)
    assert result.authentication_results == (
        AuthenticationResult(
            "dkim",
            "pass",
            (
                ("header.d", "a.example"),
                ("header.s", "sel"),
                ("header.a", "rsa-sha256"),
                ("header.b", "AbCdEfGh"),
            ),
        ),
        AuthenticationResult("dkim", "permerror", (), "no key"),
    )


def test_dkim_says_besides_what_a_reader_should_know() -> None:
    signature = DkimSignature(
        DkimOutcome.PASS, "a.example", identity="u@a.example", is_testing=True, unsigned=7
    )
    (result,) = DkimResult((signature,)).authentication_results
    assert result.properties == (("header.d", "a.example"), ("header.i", "u@a.example"))
    assert result.comment == "test mode, 7 octets of the body not signed"
    whole_domain = DkimSignature(DkimOutcome.PASS, "a.example", identity="@a.example")
    assert whole_domain.properties == (("header.d", "a.example"),)
    assert whole_domain.comment == ""


def test_evidence_says_nothing_unless_it_does() -> None:
    assert Evidence().authentication_results == ()
