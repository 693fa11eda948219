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
        "\u00a0b\u00fccher.example; spf=pass".replace("\u00a0", " ").encode(),
    ],
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
        b" (mx.example",
        b"",
        b" ;",
        b' "unended',
        b" " + b"(" * 100_000,
        b" \xff\xfe; x",
    ],
)
def test_a_field_of_somebody_else_is_left_alone(value: bytes) -> None:
    theirs = HeaderField("authentication-results", b"Authentication-Results:" + value + b"\r\n", 0)
    assert forged([theirs], OURS) == []


def test_other_fields_are_not_looked_at() -> None:
    other = HeaderField("x-authentication-results", b"X: mx.example; spf=pass\r\n", 0)
    assert forged([other], OURS) == []
