"""What was asked and answered, kept as plain values and given back without a network.

A decision that asked the DNS through `RecordingResolver` can be made again from its records: the
same questions get the same answers, and a question that was not asked then is noted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from edgerelay.dns.answer import Answer, Resolver, Status, canonical

_TEMPORARY: Final = Answer(Status.TEMPORARY)
_IMPOSSIBLE: Final = Answer(Status.NXDOMAIN)


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """``name`` is in lower case, without its final dot."""

    name: str
    rdtype: str
    answer: Answer


class RecordingResolver:
    """Asks another resolver, and keeps what it said: for each question the last answer.

    A question whose asker was cancelled has none. Whoever lends it out ends it: it grows with
    each new question.
    """

    def __init__(self, upstream: Resolver) -> None:
        self._upstream = upstream
        self._answers: dict[tuple[str, str], Answer] = {}

    @property
    def records(self) -> list[RecordedAnswer]:
        """In the order in which the questions were first answered."""
        return [RecordedAnswer(*question, answer) for question, answer in self._answers.items()]

    async def resolve(self, name: str, rdtype: str) -> Answer:
        """See `edgerelay.dns.answer.Resolver.resolve`."""
        answer = await self._upstream.resolve(name, rdtype)
        known = canonical(name)
        if known is not None:
            self._answers[known, rdtype] = answer
        return answer


class RecordedResolver:
    """Answers from records, at once. What they do not hold is a temporary failure, and is in
    ``missing``, once each, in the order asked."""

    def __init__(self, records: Iterable[RecordedAnswer]) -> None:
        self._answers = {(record.name, record.rdtype): record.answer for record in records}
        self._missing: dict[tuple[str, str], None] = {}

    @property
    def missing(self) -> list[tuple[str, str]]:
        return list(self._missing)

    async def resolve(self, name: str, rdtype: str) -> Answer:
        """See `edgerelay.dns.answer.Resolver.resolve`. Never a checkpoint."""
        known = canonical(name)
        if known is None:
            return _IMPOSSIBLE
        answer = self._answers.get((known, rdtype))
        if answer is None:
            self._missing[known, rdtype] = None
            return _TEMPORARY
        return answer


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(RecordedAnswer)


def to_lines(records: Iterable[RecordedAnswer]) -> bytes:
    """Return the records as JSON, one a line; the strings of TXT are base64."""
    return b"".join(_ENCODER.encode(record) + b"\n" for record in records)


def from_lines(lines: bytes) -> list[RecordedAnswer]:
    """Read what `to_lines` wrote. Raises ValueError for anything else."""
    try:
        return [_DECODER.decode(line) for line in lines.splitlines() if line]
    except msgspec.DecodeError as error:
        raise ValueError(f"no record of the DNS: {error}") from None
