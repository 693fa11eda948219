"""Command lines end with CRLF, and what is not a line is one refused line."""

from __future__ import annotations

import pytest

from edgerelay.smtp.lines import LINE_LIMIT, BadLine, LineBuffer


def lines(*pieces: bytes) -> list[bytes | str]:
    """What comes out; a bad line as the first word of its objection."""
    buffer = LineBuffer()
    said: list[bytes | str] = []
    for piece in pieces:
        buffer.feed(piece)
        while (line := buffer.next_line()) is not None:
            said.append(line.reply.text.split()[0] if isinstance(line, BadLine) else line)
    return said


def octets(data: bytes) -> list[bytes]:
    return [bytes([octet]) for octet in data]


LONGEST = b"x" * (LINE_LIMIT - 2)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"NOOP\r\n", [b"NOOP"]),
        (b"NOOP\r\nRSET\r\nQU", [b"NOOP", b"RSET"]),
        (b"\r\n", [b""]),
        (b"NOOP", []),
        (b"NOOP\r", []),
        # a bare newline spoils its line up to the CRLF
        (b"NOOP\nQUIT\r\nRSET\r\n", ["Lines", b"RSET"]),
        (b"NOOP\n", ["Lines"]),
        (b"NOOP\rQUIT\r\nRSET\r\n", ["Lines", b"RSET"]),
        (b"\n\r\nRSET\r\n", ["Lines", b"RSET"]),
        (b"a\n\n\nb\r\nRSET\r\n", ["Lines", b"RSET"]),
        (b"NOOP\r\r\nRSET\r\n", ["Lines", b"RSET"]),
        # so does a line without an end
        (LONGEST + b"\r\nRSET\r\n", [LONGEST, b"RSET"]),
        (b"x" + LONGEST + b"\r\nRSET\r\n", ["Line", b"RSET"]),
        (b"x" * (LINE_LIMIT - 1) + b"\r\nRSET\r\n", ["Line", b"RSET"]),
        (b"x" * 10 * LINE_LIMIT + b"\r\nRSET\r\n", ["Line", b"RSET"]),
        (b"x\n" * LINE_LIMIT + b"\r\nRSET\r\n", ["Lines", b"RSET"]),
    ],
)
def test_lines_do_not_depend_on_segments(data: bytes, expected: list[bytes | str]) -> None:
    assert lines(data) == expected
    assert lines(*octets(data)) == expected
    for cut in range(1, min(len(data), 40)):
        assert lines(data[:cut], data[cut:]) == expected
        assert lines(data[:-cut], data[-cut:]) == expected


def test_two_megabytes_without_an_end_are_answered_once_and_not_kept() -> None:
    buffer = LineBuffer()
    answers = 0
    for _ in range(2_000_000 // 65536):
        buffer.feed(b"z" * 65536)
        while buffer.next_line() is not None:
            answers += 1
        assert len(buffer.take_all() if answers == 0 else b"") <= LINE_LIMIT
    assert answers == 1
    assert not buffer.is_empty  # still inside that line
    buffer.feed(b"zz\r\nNOOP\r\n")
    assert buffer.next_line() == b"NOOP"
    assert buffer.is_empty


def test_the_excerpt_is_short_and_printable() -> None:
    buffer = LineBuffer()
    buffer.feed(b"MAIL\x00\xff\x1b[31m" + b"x" * 5000)
    line = buffer.next_line()
    assert isinstance(line, BadLine)
    assert line.excerpt.isprintable()
    assert len(line.excerpt) <= 100


def test_what_is_left_can_be_handed_on() -> None:
    buffer = LineBuffer()
    buffer.feed(b"DATA\r\ncontent")
    assert buffer.next_line() == b"DATA"
    assert buffer.peek() == ord("c")
    assert buffer.take_all() == b"content"
    assert buffer.is_empty
    assert buffer.peek() is None
