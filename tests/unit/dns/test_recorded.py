"""A recording gives the same answers again, and says what it was never asked."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edgerelay.dns.answer import Answer, Mx, Status
from edgerelay.dns.recorded import (
    RecordedAnswer,
    RecordedResolver,
    RecordingResolver,
    from_lines,
    to_lines,
)
from edgerelay.testing.literal_dns import Fault, LiteralResolver, Zone

ZONE: Zone = {
    ("example.com", "MX"): [Mx(10, "mx.example.com")],
    ("example.com", "TXT"): [(b"v=spf1", b" -all\xff\n")],
    ("mx.example.com", "A"): ["192.0.2.1"],
    ("broken.example", "A"): Fault.SERVFAIL,
    ("silent.example", "A"): Fault.TIMEOUT,
}
QUESTIONS = [
    ("example.com", "MX"),
    ("example.com", "TXT"),
    ("mx.example.com", "A"),
    ("mx.example.com", "AAAA"),
    ("nowhere.example", "A"),
    ("broken.example", "A"),
]


async def recorded() -> tuple[list[Answer], list[RecordedAnswer]]:
    recording = RecordingResolver(LiteralResolver(ZONE))
    answers = [await recording.resolve(*question) for question in QUESTIONS]
    return answers, recording.records


async def test_a_recording_survives_a_file_and_answers_the_same() -> None:
    answers, records = await recorded()
    assert [(record.name, record.rdtype) for record in records] == QUESTIONS
    lines = to_lines(records)
    assert lines.count(b"\n") == len(QUESTIONS)
    resolver = RecordedResolver(from_lines(lines))
    with trio.testing.assert_no_checkpoints():
        assert [await resolver.resolve(*question) for question in QUESTIONS] == answers
    assert resolver.missing == []


async def test_what_was_never_asked_is_temporary_and_noted() -> None:
    _, records = await recorded()
    resolver = RecordedResolver(records)
    for name in "New.Example.", "new.example", "other.example":
        assert (await resolver.resolve(name, "A")).status is Status.TEMPORARY
    assert resolver.missing == [("new.example", "A"), ("other.example", "A")]
    # A name that cannot be needs no record.
    assert (await resolver.resolve("a..b", "A")).status is Status.NXDOMAIN
    assert len(resolver.missing) == 2


async def test_the_name_is_recorded_as_it_is_compared() -> None:
    recording = RecordingResolver(LiteralResolver(ZONE))
    await recording.resolve("MX.Example.com.", "A")
    await recording.resolve("mx.example.com", "A")
    await recording.resolve("a..b", "A")
    [record] = recording.records
    assert (record.name, record.answer.records) == ("mx.example.com", ("192.0.2.1",))


async def test_a_question_that_was_given_up_leaves_no_record(
    autojump_clock: trio.testing.MockClock,
) -> None:
    recording = RecordingResolver(LiteralResolver(ZONE))
    with trio.move_on_after(1):
        await recording.resolve("silent.example", "A")
    assert recording.records == []


async def test_the_authentic_bit_is_kept() -> None:
    signed = RecordedAnswer("a.example", "A", Answer(Status.FOUND, ("192.0.2.1",), 60, True))
    assert from_lines(to_lines([signed])) == [signed]


@pytest.mark.parametrize(
    "lines",
    [b"nonsense\n", b"{}\n", b'{"name":"a","rdtype":"A","answer":{"status":"odd"}}\n', b"\xff\n"],
)
def test_anything_else_is_no_recording(lines: bytes) -> None:
    with pytest.raises(ValueError, match="no record of the DNS"):
        from_lines(lines)
