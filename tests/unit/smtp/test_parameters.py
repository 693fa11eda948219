"""Parameters are read strictly: a report that goes astray is worse than a refusal."""

from __future__ import annotations

import pytest

from edgerelay.mail.envelope import Body, Notify, Ret
from edgerelay.smtp.grammar import GrammarError
from edgerelay.smtp.parameters import mail_parameters, rcpt_parameters

XTEXT_100 = "x" * 97 + "+2B"


def test_mail_takes_all_that_is_offered_in_any_case() -> None:
    given = mail_parameters(
        f" size=12345  Body=8bitmime SMTPUTF8 RET=hdrs ENVID={XTEXT_100}", extended=True
    )
    assert given.get("SIZE", int) == 12345
    assert given.get("BODY", Body) is Body.EIGHT_BIT_MIME
    assert "SMTPUTF8" in given
    assert given.get("RET", Ret) is Ret.HDRS
    assert given.get("ENVID", str) == XTEXT_100


def test_what_is_not_given_is_none() -> None:
    given = mail_parameters("", extended=True)
    assert given.get("SIZE", int) is None
    assert "SMTPUTF8" not in given


@pytest.mark.parametrize(
    ("notify", "flags"),
    [
        ("NEVER", Notify.NEVER),
        ("never", Notify.NEVER),
        ("SUCCESS", Notify.SUCCESS),
        ("SUCCESS,FAILURE,DELAY", Notify.SUCCESS | Notify.FAILURE | Notify.DELAY),
        ("delay,FAILURE", Notify.DELAY | Notify.FAILURE),
    ],
)
def test_notify(notify: str, flags: Notify) -> None:
    assert rcpt_parameters(f" NOTIFY={notify}", extended=True).get("NOTIFY", Notify) == flags


@pytest.mark.parametrize(
    "orcpt",
    [
        "rfc822;user+2Btag@local.example",
        "x400;/S+3Da/",
        "rfc822;" + "u" * 493,
        "utf-8;\\x{E9}@example.com",
        "UTF-8;é@example.com",
    ],
)
def test_orcpt_is_kept_as_it_came(orcpt: str) -> None:
    assert rcpt_parameters(f" ORCPT={orcpt}", extended=True).get("ORCPT", str) == orcpt


@pytest.mark.parametrize(
    "text",
    [
        "SIZE",
        "SIZE=",
        "SIZE=abc",
        "SIZE=-1",
        "SIZE=1.5",
        "SIZE=" + "9" * 21,
        "SIZE=١",  # a digit, but not the ABNF's
        "SIZE=1 SIZE=1",
        "SIZE=1 size=2",
        "BODY",
        "BODY=9BIT",
        "SMTPUTF8=1",
        "SMTPUTF8 SMTPUTF8",
        "RET=BOTH",
        "RET=FULL RET=HDRS",
        "ENVID=",
        "ENVID=a=b",
        "ENVID=a+2b",
        "ENVID=a+zz",
        "ENVID=a+0D+0AX-Inj:+20yes",
        "ENVID=+7F",
        "ENVID=" + "x" * 101,
        "=1",
        "-X=1",
        "SIZE=1\tBODY=7BIT",
    ],
)
def test_mail_refuses_a_bad_value(text: str) -> None:
    with pytest.raises(GrammarError) as caught:
        mail_parameters(f" {text}", extended=True)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (501, "5.5.4")


@pytest.mark.parametrize(
    "text",
    [
        "NOTIFY",
        "NOTIFY=",
        "NOTIFY=NEVER,SUCCESS",
        "NOTIFY=SUCCESS,NEVER",
        "NOTIFY=SUCCESS,SUCCESS",
        "NOTIFY=SUCCESS,",
        "NOTIFY=SOMETIMES",
        "ORCPT=user@local.example",
        "ORCPT=;user",
        "ORCPT=rfc822;",
        "ORCPT=rfc 822;user",
        "ORCPT=rf(c;user",
        "ORCPT=rfc822;user+2x",
        "ORCPT=rfc822;user+00",
        "ORCPT=utf-8;é+1F",
        "ORCPT=rfc822;é",
        "ORCPT=utf-8;é+",
        "ORCPT=rfc822;" + "u" * 494,
        "ORCPT=rfc822;a ORCPT=rfc822;b",
    ],
)
def test_rcpt_refuses_a_bad_value(text: str) -> None:
    with pytest.raises(GrammarError) as caught:
        rcpt_parameters(f" {text}", extended=True)
    assert caught.value.reply.code in (501, 555)
    assert caught.value.reply.enhanced == "5.5.4"


@pytest.mark.parametrize(
    "text",
    ["FOO=BAR", "FOO", "HOLDFOR=100", "AUTH=<>", "NOTIFY=NEVER", "BY=100;R"],
)
def test_mail_refuses_what_is_not_offered(text: str) -> None:
    """RFC 5321 section 4.1.1.11: 555."""
    with pytest.raises(GrammarError, match=r"555 5\.5\.4"):
        mail_parameters(f" {text}", extended=True)


def test_whether_binary_mail_is_offered_is_not_asked_here() -> None:
    given = mail_parameters(" BODY=binarymime REQUIRETLS", extended=True)
    assert given.get("BODY", Body) is Body.BINARY_MIME
    assert "REQUIRETLS" in given
    with pytest.raises(GrammarError, match=r"501 5\.5\.4"):
        mail_parameters(" REQUIRETLS=1", extended=True)


@pytest.mark.parametrize("text", ["SIZE=1", "RET=FULL", "RRVS=x"])
def test_rcpt_refuses_what_is_not_offered(text: str) -> None:
    with pytest.raises(GrammarError, match=r"555 5\.5\.4"):
        rcpt_parameters(f" {text}", extended=True)


def test_after_helo_nothing_is_offered() -> None:
    """RFC 5321 section 4.1.1.1: extensions come with EHLO alone."""
    with pytest.raises(GrammarError, match=r"555 5\.5\.4"):
        mail_parameters(" SIZE=1", extended=False)
    with pytest.raises(GrammarError, match=r"555 5\.5\.4"):
        rcpt_parameters(" NOTIFY=NEVER", extended=False)


def test_a_parameter_stands_apart_from_the_path() -> None:
    with pytest.raises(GrammarError, match="501"):
        mail_parameters("SIZE=1", extended=True)
