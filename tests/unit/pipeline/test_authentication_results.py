"""Nothing a stranger says can add a result, and no field with our name gets past (RFC 8601)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerelay.pipeline.authentication_results import field, forged
from edgerelay.policy import AuthenticationResult, HeaderField


def test_a_field_names_us_and_what_was_found() -> None:
    results = [
        AuthenticationResult("spf", "pass", (("smtp.mailfrom", "a@b.example"),)),
        AuthenticationResult("dkim", "fail", (("header.d", "b.example"),), "body changed"),
    ]
    assert field("mx.example", results) == (
        b"Authentication-Results: mx.example; spf=pass smtp.mailfrom=a@b.example;\r\n"
        b' dkim=fail reason="body changed" header.d=b.example\r\n'
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("mx.example", "mx.example"),
        ("a.b+c@d.example", "a.b+c@d.example"),
        ("@d.example", "@d.example"),
        ("a..b@d.example", '"a..b@d.example"'),
        ("a@d..example", '"a@d..example"'),
        ("[192.0.2.1]", '"[192.0.2.1]"'),
        ("x; dkim=pass", '"x; dkim=pass"'),
        ('x" ; dkim=pass', '"x\\" ; dkim=pass"'),
        ("x\r\nBcc: all", '"x  Bcc: all"'),
        ("x\\", '"x\\\\"'),
        ("J\u00fcrgen", '"J\\\\xfcrgen"'),
        ("a" * 257, '"' + "a" * 256 + '"'),
    ],
)
def test_a_value_is_bare_only_where_that_is_safe(value: str, written: str) -> None:
    octets = field("mx.example", [AuthenticationResult("spf", "pass", (("smtp.helo", value),))])
    assert f"smtp.helo={written}\r\n".encode() in octets


def test_a_comment_holds_no_parenthesis_and_no_encoded_word() -> None:
    result = AuthenticationResult("dkim", "pass", comment="a) dkim=pass ( =?utf-8?q?=29?= \\")
    octets = field("mx.example", [result])
    unfolded = octets.replace(b"\r\n ", b" ")
    assert unfolded.endswith(b"; dkim=pass (a  dkim=pass   = ?utf-8?q?=29?=)\r\n")


def test_results_are_bounded() -> None:
    results = [AuthenticationResult("dkim", "fail", reason="x" * 10_000)] * 1000
    assert len(field("mx.example", results)) < 40 * 400


def test_without_results_it_says_none() -> None:
    assert field("mx.example", []) == b"Authentication-Results: mx.example; none\r\n"


hostile = st.text(
    st.sampled_from('ab.;=()"\\ \t\r\n<>@,:\x00\x7f\u00e9\u202e\u2028/%'), max_size=40
) | st.text(max_size=300)
results = st.builds(
    AuthenticationResult,
    st.sampled_from(["spf", "dkim", "x;y", "iprev"]),
    st.sampled_from(["pass", "fail", "a b"]),
    st.lists(
        st.tuples(st.sampled_from(["smtp.mailfrom", "smtp.helo", "x=y"]), hostile), max_size=3
    ).map(tuple),
    hostile,
    hostile,
)


@given(st.lists(results, max_size=5))
def test_what_is_composed_is_read_back_with_no_result_more(
    given_: list[AuthenticationResult],
) -> None:
    octets = field("mx.example", given_)
    assert octets.isascii()
    assert octets.endswith(b"\r\n")
    lines = octets[:-2].decode().split("\r\n")
    assert all(line.isprintable() and len(line) <= 998 for line in lines)
    assert all(line.startswith(" ") and line.strip() for line in lines[1:])
    name, _, value = "".join(lines).partition(":")
    assert name == "Authentication-Results"
    parts = split_results(value)
    assert parts[0] == "mx.example"
    assert len(parts) == 1 + max(1, len(given_))
    for part, result in zip(parts[1:], given_, strict=False):
        method = re.sub(r"[^A-Za-z0-9.-]", "-", result.method)
        assert re.match(rf"{re.escape(method)}=[A-Za-z0-9.-]+(?: |$)", part), part


def split_results(value: str) -> list[str]:
    """Cut at semicolons outside of strings and comments: a small reader of RFC 8601."""
    parts, part, quoted, depth, index = [], "", False, 0, 0
    while index < len(value):
        character = value[index]
        if character == "\\" and (quoted or depth):
            part += value[index : index + 2]
            index += 2
            continue
        if quoted:
            quoted = character != '"'
        elif character == '"' and not depth:
            quoted = True
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            assert depth >= 0
        elif character == ";" and not depth:
            parts.append(part.strip())
            part = ""
            index += 1
            continue
        part += character
        index += 1
    assert not quoted
    assert not depth
    return [*parts, part.strip()]


OURS = ("mx.example", "b\u00fccher.example")


@pytest.mark.parametrize(
    "value",
    [
        b" mx.example; spf=pass",
        b" MX.Example;spf=pass",
        b"mx.example",
        b" mx.example 1; spf=pass",
        b"\r\n mx.example;\r\n spf=pass",
        b" (a comment) mx.example; spf=pass",
        b" (nested (deep (er)) \\) still) mx.example; spf=pass",
        b' "mx.example"; spf=pass',
        b' "mx\\.example"; spf=pass',
        b" mx.example(comment); spf=pass",
        b" mx.example.; spf=pass",
        b" xn--bcher-kva.example; spf=pass",
        "b\u00fccher.example; spf=pass".encode(),
        # white space and controls that some reader would skip
        "\u00a0mx.example\u2003; spf=pass".encode(),
        b"\x00\x0b mx.example\x00; spf=pass",
        b' "\r\n mx.example\t"; spf=pass',
        "mx\u200b.example; spf=pass".encode(),  # ignored by IDNA
        # nobody can tell whose it is
        b" (mx.example",
        b" (a (b) mx.example; spf=pass",
        b" ) mx.example; spf=pass",
        b' "mx.example; spf=pass',
        b" " + b"(" * 100_000,
        b" (" + b"x" * 10_000 + b") mx.example; spf=pass",
        b" (x)" * 600 + b" mx.example; spf=pass",
        b" " * 10_000 + b"mx.example; spf=pass",
        b"mx" + "\u200b".encode() * 1100 + b".example; spf=pass",
    ],
    ids=lambda value: value[:30].decode("utf-8", "replace"),
)
def test_a_field_with_our_name_is_found(value: bytes) -> None:
    theirs = HeaderField("authentication-results", b"Authentication-Results:" + value + b"\r\n", 0)
    assert forged([theirs], OURS) == [theirs]


@pytest.mark.parametrize(
    "value",
    [
        b" other.example; spf=pass",
        b" notmx.example; spf=pass",
        b" mx.example.org; spf=pass",
        b" (mx.example) other.example; spf=pass",
        b" (mx.example) (c) other.example; spf=pass",
        b" mx.example=pass; x",
        b' "mx.example spf=pass"; x',
        b"",
        b" ;",
        b" ; mx.example",
        b" (only a comment)",
        b" \xff\xfe; x",
        b" \\(x",
        b" " + b"x" * 1024 + b"; spf=pass",
    ],
    ids=lambda value: value[:30].decode("utf-8", "replace"),
)
def test_a_field_of_somebody_else_is_left_alone(value: bytes) -> None:
    theirs = HeaderField("authentication-results", b"Authentication-Results:" + value + b"\r\n", 0)
    assert forged([theirs], OURS) == []


@given(
    st.text(st.sampled_from('()"\\ \t\r\n;.mx\x00\u00fc\u200b\u3002\u2fff'), max_size=60)
    | st.text()
)
def test_no_field_breaks_the_search(text: str) -> None:
    raw = b"Authentication-Results:" + text.encode("utf-8", "surrogatepass") + b"\r\n"
    theirs = HeaderField("authentication-results", raw, 0)
    assert forged([theirs], OURS) in ([], [theirs])
    before = HeaderField("authentication-results", raw.replace(b":", b": mx.example;", 1), 0)
    assert forged([before], OURS) == [before]


def test_other_fields_are_not_looked_at() -> None:
    other = HeaderField("x-authentication-results", b"X: mx.example; spf=pass\r\n", 0)
    assert forged([other], OURS) == []
