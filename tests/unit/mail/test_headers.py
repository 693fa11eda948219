"""Received fields are counted, however the octets are cut, in bounded memory."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerelay.mail.headers import HeaderScanner

US = "mx.example.org"


def scan(content: bytes, step: int | None = None) -> tuple[int, int, bool]:
    scanner = HeaderScanner(US)
    step = step or max(1, len(content))
    for start in range(0, len(content), step):
        scanner.feed(content[start : start + step])
    return scanner.received, scanner.own_hops, scanner.is_done


CASES = [
    # (content, Received fields, of ours, header ended)
    (b"", 0, 0, False),
    (b"\r\nReceived: by x\r\n", 0, 0, True),  # no header at all
    (b"Subject: x\r\n\r\nReceived: by mx.example.org;\r\n", 0, 0, True),
    (b"Received: by a\r\nSubject: x\r\nRECEIVED : by b\r\n\r\n", 2, 0, True),
    (b"X-Received: by a\r\nReceived-SPF: x\r\n\r\n", 0, 0, True),
    (b"Subject: x\r\n Received: by a\r\n\r\n", 0, 0, True),  # folded
    (b"Received: from a\r\n\tby mx.example.org (x) with ESMTP\r\n\r\n", 1, 1, True),
    (b"Received: from a by\r\n MX.Example.ORG; date\r\n\r\n", 1, 1, True),
    (b"Received: from mx.example.org by b; date\r\n\r\n", 1, 0, True),
    (b"Received: from a by mx.example.org.evil; date\r\n\r\n", 1, 0, True),
    (b"Received: from a by amx.example.org; date\r\n\r\n", 1, 0, True),
    (b"Received: from a\r\nX-Loop: b by mx.example.org;\r\n\r\n", 1, 0, True),
    (b"Received: by a\r\n" * 500 + b"\r\n", 500, 0, True),
    (b"X: " + b"y" * 20_000 + b"\r\nReceived: by a\r\n\r\n", 1, 0, True),
    (b"Received: " + b"y" * 20_000 + b"\r\nReceived: by a\r\n\r\n", 2, 0, True),
    (b"Received: by a\r\n\r\n", 1, 0, True),
]


@pytest.mark.parametrize(("content", "received", "ours", "ended"), CASES)
@pytest.mark.parametrize("step", [None, 1, 2, 3, 7, 1000])
def test_cutting_does_not_matter(
    content: bytes, received: int, ours: int, ended: bool, step: int | None
) -> None:
    assert scan(content, step) == (received, ours, ended)


@pytest.mark.parametrize(
    ("field", "known"),
    [
        (b"Delivered-To: b@example.org", {"b@example.org"}),
        (b"delivered-to :\r\n <B.C@Example.ORG>", {"b.c@example.org"}),
        ("Delivered-To: jürgen@bücher.example".encode(), {"jürgen@xn--bcher-kva.example"}),
        (b"Delivered-To: mailing list x", set()),
        (b"Delivered-To: ", set()),
        (b"Delivered-To: \xff@\xff", {"\ufffd@\ufffd"}),
        (b"X-Delivered-To: b@example.org", set()),
        (b"Delivered-To: b@" + b"x" * 300, set()),
    ],
)
@pytest.mark.parametrize("step", [1, 5, 1000])
def test_whom_it_was_delivered_to_is_read(field: bytes, known: set[str], step: int) -> None:
    scanner = HeaderScanner(US)
    content = b"Subject: x\r\n" + field + b"\r\n\r\nDelivered-To: body@example.org\r\n"
    for start in range(0, len(content), step):
        scanner.feed(content[start : start + step])
    assert scanner.delivered_to == known
    assert (scanner.received, scanner.results) == (0, 0)


@pytest.mark.parametrize("step", [1, 1000])
def test_content_that_begins_with_white_space_has_no_header(step: int) -> None:
    content = b"\tby mx.example.org;\r\nReceived: by mx.example.org;\r\n\r\n"
    assert scan(content, step) == (0, 0, True)
    headed = HeaderScanner(US)
    headed.feed(b"A: b\r\n")
    headed.feed(b" c\r\n\r\n")
    assert not headed.is_headless


def test_of_many_deliveries_a_bounded_number_is_kept() -> None:
    scanner = HeaderScanner(US)
    scanner.feed(b"".join(b"Delivered-To: u%d@example.org\r\n" % n for n in range(5000)))
    assert len(scanner.delivered_to) == 100


PIECES = [
    b"\r\n",
    b" ",
    b"\t",
    b"Received:",
    b"received :",
    b"X: ",
    b"by ",
    b"mx.example.org",
    b";",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.integers(1, 9))
def test_any_cut_counts_the_same(pieces: list[bytes], step: int) -> None:
    content = b"".join(pieces) + b"\r\n\r\n"
    assert scan(content, step) == scan(content)


@pytest.mark.parametrize(
    "unit", [b" \r\n", b"\r\n ", b"received:", b"\r\nreceived: by ", b"\r", b"by mx.example.org "]
)
def test_hostile_headers_cost_time_in_proportion_and_bounded_memory(unit: bytes) -> None:
    scanner = HeaderScanner(US)
    scanner.feed(b"X: ")
    started = time.process_time()
    for _ in range(32):
        scanner.feed(unit * (65536 // len(unit)))
        assert len(scanner._carry) <= 8192
    assert time.process_time() - started < 2
