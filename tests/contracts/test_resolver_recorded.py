"""Recording keeps the contract of `Resolver`, and so does what answers from the recording."""

from __future__ import annotations

from edgerelay.dns.recorded import RecordedResolver, RecordingResolver, from_lines, to_lines
from edgerelay.testing.check_resolver import ZONE, check_resolver
from edgerelay.testing.literal_dns import LiteralResolver


async def test_recording_and_recorded_keep_the_contract() -> None:
    recording = RecordingResolver(LiteralResolver(ZONE))
    await check_resolver(recording)
    recorded = RecordedResolver(from_lines(to_lines(recording.records)))
    await check_resolver(recorded)
    assert recorded.missing == []
