"""The content of a message, its end, and what must not be taken for it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edgerelay.smtp.data import ChunkReader, DataReader
from edgerelay.smtp.events import DataProblem


def read(
    *pieces: bytes, limit: int = 0, reject_long_lines: bool = False
) -> tuple[bytes, bytes | None, DataReader]:
    """Content, what follows its end (None: it has none), and the reader."""
    reader = DataReader(limit, reject_long_lines=reject_long_lines)
    content = b""
    for number, piece in enumerate(pieces):
        some, rest = reader.feed(piece)
        content += some
        if rest is not None:
            return content, rest + b"".join(pieces[number + 1 :]), reader
    return content, None, reader


def every_way(data: bytes) -> list[list[bytes]]:
    """Whole, octet by octet, and in every two and three pieces."""
    ends = range(1, len(data))
    three = [[data[:a], data[a:b], data[b:]] for a in ends for b in ends if a < b]
    return [[data], [bytes([o]) for o in data], *([data[:a], data[a:]] for a in ends), *three]


@pytest.mark.parametrize(
    ("data", "content", "rest"),
    [
        (b".\r\n", b"", b""),
        (b"x\r\n.\r\n", b"x\r\n", b""),
        (b"x\r\n.\r\nQUIT\r\n", b"x\r\n", b"QUIT\r\n"),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b".x\r\n.\r\n", b"x\r\n", b""),
        (b"a\r\n..\r\n...\r\nb.\r\n.\r\n", b"a\r\n.\r\n..\r\nb.\r\n", b""),
        (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n", b""),
        (b"a.\r\n.\r\n.\r\n", b"a.\r\n", b".\r\n"),
        (b"\x00\xff\r\n.\r\n", b"\x00\xff\r\n", b""),
        (b"x\r\n.", None, None),
        (b"x", None, None),
        (b".", None, None),
    ],
)
def test_content_and_its_end(data: bytes, content: bytes | None, rest: bytes | None) -> None:
    for pieces in every_way(data):
        got, follows, reader = read(*pieces)
        assert follows == rest
        if content is not None:
            assert (got, reader.size, reader.problem) == (content, len(content), None)


SMUGGLING = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\r\n\x00.\r",
    b"\r\n.\x00\n",
    b"\r\x00\n.\r\n",
    b"\n\n.\n\n",
    b"\r\r\n.\r\r\n",
]


@pytest.mark.parametrize("sequence", SMUGGLING, ids=repr)
def test_no_other_sequence_ends_the_data_or_passes(sequence: bytes) -> None:
    """RFC 5321 section 4.1.1.4; the CVE-2023-51764 family."""
    data = b"x" + sequence + b"MAIL FROM:<s@s.example>\r\n.\r\n"
    for pieces in every_way(data):
        _, rest, reader = read(*pieces)
        assert rest == b""
        assert reader.problem is DataProblem.BARE_NEWLINE


def test_a_cr_before_the_last_line_end_is_bare_though_the_data_ends_there() -> None:
    for pieces in every_way(b"x\r\r\n.\r\nNOOP\r\n"):
        _, rest, reader = read(*pieces)
        assert (rest, reader.problem) == (b"NOOP\r\n", DataProblem.BARE_NEWLINE)


@pytest.mark.parametrize("bare", [b"a\nb", b"a\rb", b"\n", b"\r", b"\n\r", b"a\r\n\nb", b"\r\r\n"])
def test_a_bare_newline_anywhere_is_seen(bare: bytes) -> None:
    for pieces in every_way(bare + b"\r\n.\r\n"):
        _, rest, reader = read(*pieces)
        assert (rest, reader.problem) == (b"", DataProblem.BARE_NEWLINE)


def test_the_limit_is_in_octets_of_content() -> None:
    """RFC 1870 section 5: line ends count, doubled dots do not."""
    for pieces in every_way(b"..a\r\n..b\r\n.\r\n"):
        content, rest, reader = read(*pieces, limit=8)
        assert (content, rest, reader.problem) == (b".a\r\n.b\r\n", b"", None)
        content, rest, reader = read(*pieces, limit=7)
        assert len(content) <= 7
        assert (rest, reader.problem, reader.size) == (b"", DataProblem.TOO_BIG, 8)


def test_smuggling_is_told_before_size_whichever_came_first() -> None:
    for data in (b"aaaaaa\r\n\nb\r\n.\r\n", b"\nbaaaaaa\r\n\r\n.\r\n"):
        for pieces in every_way(data):
            assert read(*pieces, limit=6)[2].problem is DataProblem.BARE_NEWLINE


@pytest.mark.parametrize(
    ("lengths", "good"),
    [
        ([998], True),
        ([999], False),
        ([0, 998, 0, 998], True),
        ([998, 999], False),
        ([500, 400, 999, 1], False),
        ([5000], False),
        ([997, 998, 997] * 3, True),
        ([1] * 3000, True),
    ],
)
@pytest.mark.parametrize("piece", [7, 100, 998, 999, 1000, 1001, 10**6])
def test_long_lines_are_seen_if_they_are_to_be(lengths: list[int], good: bool, piece: int) -> None:
    data = b"".join(b"x" * length + b"\r\n" for length in lengths) + b".\r\n"
    pieces = [data[i : i + piece] for i in range(0, len(data), piece)]
    _, rest, reader = read(*pieces, reject_long_lines=True)
    assert rest == b""
    assert reader.problem is (None if good else DataProblem.LONG_LINE)
    assert read(*pieces)[2].problem is None


def test_a_doubled_dot_does_not_make_a_line_long() -> None:
    """RFC 5321 section 4.5.3.1.6: without the dot added for transparency."""
    data = b"." * 999 + b"\r\n.\r\n"
    for a, b in pairwise([0, 1, 500, 999, 1000, 1001, len(data)]):
        pieces = [data[:a], data[a:b], data[b:]]
        assert read(*filter(None, pieces), reject_long_lines=True)[2].problem is None


def test_content_passes_on_at_once() -> None:
    reader = DataReader(0)
    content, _ = reader.feed(b"x" * 65536)
    assert len(content) == 65536
    content, _ = reader.feed(b"y" * 1000 + b"\r\n.\r")
    assert len(content) == 1000
    assert reader.feed(b"\n") == (b"\r\n", b"")


def chunked(
    *pieces: bytes, limit: int = 0, normalize: bool = False, binary: bool = False
) -> tuple[bytes, DataProblem | None, int]:
    reader = ChunkReader(limit, normalize=normalize, binary=binary)
    content = b"".join([reader.feed(piece) for piece in pieces]) + reader.finish()
    assert reader.finish() == b""
    return content, reader.problem, reader.size


@pytest.mark.parametrize(
    ("data", "content", "problem"),
    [
        (b"", b"", None),
        (b"..\r\n.\r\n", b"..\r\n.\r\n", None),
        (b"no end", b"no end", None),
        (b"a\nb", None, DataProblem.BARE_NEWLINE),
        (b"a\rb", None, DataProblem.BARE_NEWLINE),
        (b"a\r", None, DataProblem.BARE_NEWLINE),
        (b"\na", None, DataProblem.BARE_NEWLINE),
        (b"a\r\r\n", None, DataProblem.BARE_NEWLINE),
    ],
)
def test_chunks_are_content_as_they_are(
    data: bytes, content: bytes | None, problem: DataProblem | None
) -> None:
    for pieces in every_way(data) if data else [[]]:
        got, found, _ = chunked(*pieces)
        assert found is problem
        if content is not None:
            assert got == content


def test_chunks_are_normalised_however_they_are_cut() -> None:
    for pieces in every_way(b"a\nb\rc\r\n\r"):
        assert chunked(*pieces, normalize=True) == (b"a\r\nb c\r\n ", None, 9)


def test_binary_content_has_no_bare_newlines_and_a_limit_all_the_same() -> None:
    data = b"\r\n\r\x00\n\n"
    for pieces in every_way(data):
        assert chunked(*pieces, binary=True) == (data, None, 6)
    assert chunked(data, limit=5, binary=True)[1] is DataProblem.TOO_BIG


@pytest.mark.parametrize(
    ("data", "is_good"),
    [
        (b"A: b\r\n\r\n\n\r\0", True),
        (b"A: b\r\n c\r\n", True),
        (b"", True),
        (b"A: b\nC: d\r\n\r\n", False),
        (b"A: b\r\nC: d\rE: f\r\n\r\n", False),
        (b"\n\r\n\r\n", False),
        (b"A: b\n\nbody", False),
        (b"A: b\r", False),
        (b"A: b\r\r\n\r\n", False),
    ],
)
def test_the_header_of_binary_content_has_lines(data: bytes, is_good: bool) -> None:
    for pieces in every_way(data) if data else [[]]:
        content, problem, size = chunked(*pieces, binary=True)
        assert problem is (None if is_good else DataProblem.BARE_NEWLINE), pieces
        assert size == len(data)
        assert not is_good or content == data


def test_a_dot_behind_a_bare_newline_is_content_and_stays() -> None:
    for pieces in every_way(b"a\n.b\r\n.c\r\n.\r\n"):
        reader = DataReader(0, normalize=True)
        assert b"".join(reader.feed(piece)[0] for piece in pieces) == b"a\r\n.b\r\nc\r\n"


def test_normalised_data_holds_no_stray_newline_and_ends_where_it_ended() -> None:
    for data in SMUGGLING:
        for pieces in every_way(data):
            reader, plain = DataReader(0, normalize=True), DataReader(0)
            content = b""
            for piece in pieces:
                some, rest = reader.feed(piece)
                content += some
                assert rest == plain.feed(piece)[1], "the same octets end it"
                if rest is not None:
                    break
            assert reader.problem is None
            assert not {*b"\r\n"} & {*content.replace(b"\r\n", b"")}
