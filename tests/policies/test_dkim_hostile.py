"""Hostile and odd messages (tests/hostile): each is read, and has results for what it claims."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from edgerelay.policy import CONTINUE, Answer, Status
from edgerelay_policies.dkim.policy import INLINE
from tests.policies.dkim_support import RSA, ask

HOSTILE = Path(__file__).parents[1] / "hostile"
MESSAGES = sorted(HOSTILE.rglob("*.eml"))


class EveryKey:
    """A DNS in which every name has the same key, so that no signature ends at its lack."""

    async def resolve(self, name: str, rdtype: str) -> Answer:
        await trio.lowlevel.checkpoint()
        return Answer(Status.FOUND, ((f"v=DKIM1; p={RSA.public}".encode(),),))


def as_sent(path: Path) -> bytes:
    """What was found in archives has the line ends of its archive."""
    octets = path.read_bytes()
    if "real" in path.parts:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return octets


def test_they_are_there() -> None:
    assert len(MESSAGES) > 100


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
async def test_a_message_is_read_the_same_from_memory_and_from_a_file(path: Path) -> None:
    octets = as_sent(path)
    said = await ask(octets, dns=EveryKey())
    from_file = await ask(octets, dns=EveryKey(), in_memory=False)
    assert said.verdict is CONTINUE
    assert said.result == from_file.result
    assert len(said.result.signatures) <= 5
    for result in said.result.authentication_results:
        assert all(text.isascii() and text.isprintable() for _, text in result.properties)


async def test_what_takes_long_is_done_in_a_thread() -> None:
    for path in MESSAGES:
        octets = as_sent(path)
        said = await ask(octets, dns=EveryKey())
        verified = any(each.outcome.value in ("pass", "fail") for each in said.result.signatures)
        assert bool(said.threads) == (verified and len(octets) > INLINE), path
