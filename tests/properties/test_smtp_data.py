"""Mail data means the same however it is cut, and the same as a page of plain Python says."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from edgerelay.smtp.client import ClientProtocol
from edgerelay.smtp.data import DataReader
from edgerelay.smtp.events import DataProblem

#: The octets that matter, in many arrangements, and a few that do not.
MAIL_DATA = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"\r\n.", b"x", b"\x00", b"\xff", b"yz" * 300])
).map(b"".join)
CUTS = st.lists(st.integers(1, 12), max_size=200)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in [*pieces, data] if piece]


def naive(
    data: bytes, limit: int, reject_long: bool
) -> tuple[bytes, DataProblem | None, int, bytes | None]:
    """Content, problem, size and rest, as RFC 5321 section 4.5.2 tells it, octet by octet."""
    content, at = b"", 0
    while True:
        line_begins = at == 0 or data[at - 2 : at] == b"\r\n"
        if line_begins and data[at : at + 3] == b".\r\n":
            rest: bytes | None = data[at + 3 :]
            break
        if at >= len(data):
            rest = None
            break
        if not (line_begins and data[at : at + 1] == b"."):
            content += data[at : at + 1]
        at += 1
    without_line_ends = content.replace(b"\r\n", b"")
    problem = None
    if b"\r" in without_line_ends or b"\n" in without_line_ends:
        problem = DataProblem.BARE_NEWLINE
    elif limit and len(content) > limit:
        problem = DataProblem.TOO_BIG
    elif reject_long and any(len(line) > 998 for line in content.split(b"\r\n")):
        problem = DataProblem.LONG_LINE
    return content, problem, len(content), rest


def fast(
    pieces: list[bytes], limit: int, reject_long: bool
) -> tuple[bytes, DataProblem | None, int, bytes | None]:
    reader = DataReader(limit, reject_long_lines=reject_long)
    content = b""
    for number, piece in enumerate(pieces):
        some, rest = reader.feed(piece)
        assert not (some and reader.problem), "content after a problem"
        content += some
        if rest is not None:
            rest += b"".join(pieces[number + 1 :])
            return content, reader.problem, reader.size, rest
    return content, reader.problem, reader.size, None


@given(MAIL_DATA, CUTS, st.sampled_from([0, 1, 5, 700]), st.booleans())
@example(b"\r\n.\r", [1], 0, False)
@example(b"\r\r\n.\r\n", [2], 0, False)
def test_the_reader_is_the_naive_reader(
    data: bytes, sizes: list[int], limit: int, reject_long: bool
) -> None:
    data += b"\r\n.\r\nQUIT\r\n"
    content, problem, size, rest = naive(data, limit, reject_long)
    got = fast(cut(data, sizes), limit, reject_long)
    assert got[1:] == (problem, size, rest)
    if problem is None:
        assert got[0] == content


@given(MAIL_DATA, CUTS)
def test_without_an_end_at_most_four_octets_are_held_back(data: bytes, sizes: list[int]) -> None:
    _, _, _, rest = naive(data, 0, False)
    if rest is not None:
        return
    reader = DataReader(0)
    taken = passed = 0
    for piece in cut(data, sizes):
        content, _ = reader.feed(piece)
        taken, passed = taken + len(piece), passed + len(content)
        if reader.problem is None:
            assert taken - passed <= 4 + data[:taken].count(b"\r\n.") + 1


@given(MAIL_DATA, CUTS, CUTS)
def test_what_the_client_sends_the_server_reads(
    data: bytes, sizes: list[int], others: list[int]
) -> None:
    """Dot transparency is undone exactly, wherever either side cuts."""
    client = ClientProtocol()
    client.data()
    wire = b"".join(map(client.content, cut(data, sizes))) + client.end_of_data()
    content, problem, _, rest = fast(cut(wire, others), 0, False)
    assert rest == b""
    whole = data if data.endswith(b"\r\n") or not data else data + b"\r\n"
    stray = whole.replace(b"\r\n", b"")
    assert problem is (DataProblem.BARE_NEWLINE if {13, 10} & {*stray} else None)
    if problem is None:
        assert content == whole
