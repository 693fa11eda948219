"""A message is read as it came, whatever it is."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from edgerelay.pipeline import message as module
from edgerelay.pipeline.message import HeaderTooLarge, ReadMessage, read_message


class Kept:
    """Content in memory, or as if in a file."""

    def __init__(self, octets: bytes, *, in_file: bool = False) -> None:
        self._octets = octets
        self._in_file = in_file
        self.size = len(octets)
        self.reads = 0

    def whole(self) -> bytes | None:
        return None if self._in_file else self._octets

    async def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return self._octets[offset : offset + length]


async def everything(message: ReadMessage) -> bytes:
    return b"".join([piece async for piece in message.chunks()])


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    ("octets", "fields", "body"),
    [
        (b"", [], b""),
        (b"\r\n", [], b""),
        (b"\r\nbody\r\n", [], b"body\r\n"),
        (b"A: 1\r\nB: 2\r\n\r\nx\r\n", [("a", b"A: 1\r\n"), ("b", b"B: 2\r\n")], b"x\r\n"),
        (b"A: 1\r\n 2\r\n\t3\r\n\r\n", [("a", b"A: 1\r\n 2\r\n\t3\r\n")], b""),
        (b"A: no blank line\r\n", [("a", b"A: no blank line\r\n")], b""),
        (b" fold first\r\nA: 1\r\n\r\n", [], b" fold first\r\nA: 1\r\n\r\n"),
        (b"\t", [], b"\t"),
        (b"no colon\r\nA : 1\r\n\r\n", [("", b"no colon\r\n"), ("a", b"A : 1\r\n")], b""),
        (b": empty\r\n\r\n", [("", b": empty\r\n")], b""),
        (b"\xc3\x84: x\r\n\r\n", [("\u00c3\u0084", b"\xc3\x84: x\r\n")], b""),
        (b"A:\x00\rB\nC\r\n\r\n", [("a", b"A:\x00\rB\nC\r\n")], b""),
        (b"A: 1\r\n\r\n\r\n", [("a", b"A: 1\r\n")], b"\r\n"),
    ],
)
async def test_header_and_body(
    octets: bytes, fields: list[tuple[str, bytes]], body: bytes, in_file: bool
) -> None:
    message = await read_message(Kept(octets, in_file=in_file))
    assert [(field.name, field.raw) for field in message.fields] == fields
    assert await everything(message) == body
    assert message.body == (None if in_file else body)
    assert message.size == len(octets)


async def test_fields_by_name_and_where_they_stand() -> None:
    octets = b"Received: a\r\nSubject: s\r\nRECEIVED: b\r\n\r\n"
    message = await read_message(Kept(octets))
    first, second = message.named("rEceived")
    assert octets[second.start :].startswith(second.raw)
    assert (first.start, second.start) == (0, 25)


async def test_a_large_body_is_read_in_pieces() -> None:
    body = b"0123456789abcdef" * 50_000
    kept = Kept(b"A: 1\r\n\r\n" + body, in_file=True)
    message = await read_message(kept)
    assert kept.reads == 1
    assert await everything(message) == body
    assert await everything(message) == body  # and again


async def test_the_end_of_a_header_may_lie_across_two_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    octets = b"A: 1\r\nB: 2\r\n\r\nbody"
    for size in range(1, len(octets)):
        monkeypatch.setattr(module, "PIECE", size)
        message = await read_message(Kept(octets, in_file=True))
        assert [field.name for field in message.fields] == ["a", "b"]
        assert await everything(message) == b"body"


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("end", [b"\r\n\r\nbody", b""])
async def test_a_header_beyond_the_limit_is_refused(
    in_file: bool, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEADER_LIMIT", 1000)
    monkeypatch.setattr(module, "PIECE", 100)
    octets = b"A: 1\r\n" * 200 + end
    with pytest.raises(HeaderTooLarge):
        await read_message(Kept(octets, in_file=in_file))


@pytest.mark.parametrize("in_file", [False, True])
async def test_a_body_may_be_left_half_way(in_file: bool) -> None:
    """As an asynchronous generator it would warn when it is forgotten."""
    message = await read_message(Kept(b"A: 1\r\n\r\n" + b"x" * 600_000, in_file=in_file))
    async for piece in message.chunks():
        assert len(piece) == 256 * 1024
        break


async def test_a_content_that_ends_too_soon_is_an_error_and_no_endless_loop() -> None:
    short = Kept(b"A: 1\r\n", in_file=True)
    short.size = 100
    with pytest.raises(EOFError):
        await read_message(short)
    short = Kept(b"A: 1\r\n\r\nbody", in_file=True)
    short.size = 100
    with pytest.raises(EOFError):
        await everything(await read_message(short))


async def test_a_header_that_is_empty_needs_one_read() -> None:
    kept = Kept(b"\r\n" + b"x" * 1_000_000, in_file=True)
    message = await read_message(kept)
    assert (kept.reads, list(message.fields)) == (1, [])


async def test_a_name_is_found_whether_or_not_the_header_was_cut() -> None:
    octets = b"X: subject\r\nTo: b\r\n\r\nFrom: x\r\n"
    for cut_before in (False, True):
        message = await read_message(Kept(octets))
        if cut_before:
            assert len(message.fields) == 2
        assert list(message.named("Subject")) == []
        assert list(message.named("from")) == []
        assert [field.raw for field in message.named("TO")] == [b"To: b\r\n"]


@given(st.lists(st.sampled_from([b"A: 1", b" x", b"\r\n", b"\r", b"\n", b":", b"", b"\xff"])))
def test_nothing_is_lost_or_added(parts: list[bytes]) -> None:
    async def run() -> None:
        octets = b"".join(parts)
        message = await read_message(Kept(octets))
        header = b"".join(field.raw for field in message.fields)
        body = await everything(message)
        between = len(octets) - len(header) - len(body)
        assert octets == header + octets[len(header) : len(header) + between] + body
        assert octets[len(header) : len(header) + between] in (b"", b"\r\n")

    trio.run(run)
