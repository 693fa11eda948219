"""The policy `Dkim` asked about one message: what it is lent, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, NamedTuple, TypeVar

import trio

from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.mail.envelope import Envelope
from edgerelay.pipeline.message import read_message
from edgerelay.policy import (
    DkimResult,
    DkimSignature,
    MailTransaction,
    MessageVerdict,
    Resolver,
    Session,
)
from edgerelay.testing.literal_dns import Zone
from edgerelay.testing.messages import TEST_KEYS, SigningKey, build_message, dkim_records, sign
from edgerelay_policies.dkim import Dkim, DkimOptions
from tests.policies.services import Given, LentServices

T = TypeVar("T")

NOW: Final = 1_800_000_000.0
DOMAIN, SELECTOR = "sender.example", "s1"
KEY_NAME: Final = f"{SELECTOR}._domainkey.{DOMAIN}"
KEY: Final = TEST_KEYS["ed25519"]
RSA: Final = TEST_KEYS["rsa-2048"]


class DkimServices(LentServices):
    """Counts what would have run in a thread."""

    threads = 0

    async def run_blocking(self, function: Callable[[], T], /) -> T:
        self.threads += 1
        return await super().run_blocking(function)


@dataclass(frozen=True, slots=True)
class Stored:
    """`ReadableContent` in memory, or as if it were in a file."""

    octets: bytes
    in_memory: bool = True

    @property
    def size(self) -> int:
        return len(self.octets)

    def whole(self) -> bytes | None:
        return self.octets if self.in_memory else None

    async def read(self, offset: int, length: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.octets[offset : offset + length]


class Said(NamedTuple):
    verdict: MessageVerdict
    result: DkimResult
    threads: int
    log: list[str]

    @property
    def words(self) -> list[str]:
        """``pass``, or the outcome with its reason, of each signature."""
        return [in_words(signature) for signature in self.result.signatures]


def in_words(signature: DkimSignature) -> str:
    return " ".join(filter(None, (signature.outcome.value, signature.reason)))


async def ask(
    message: bytes,
    zone: Zone | None = None,
    *,
    dns: Resolver | None = None,
    now: float = NOW,
    in_memory: bool = True,
    **options: Any,
) -> Said:
    """Ask about one message. Without a zone, that of `signed` messages."""
    lent = DkimServices(zone_of() if zone is None else zone)
    lent.clock = now
    lent.dns = dns or lent.dns
    asked = Given()
    session = Session(ip_address("192.0.2.1"), "TOKEN")
    transaction = MailTransaction(asked, session, Envelope(NULL_REVERSE_PATH), ())
    view = await read_message(Stored(message, in_memory))
    async with Dkim(DkimOptions(**options), lent) as policy:
        verdict = await policy.on_message(transaction, view)
    [result] = asked.provided
    assert isinstance(result, DkimResult)
    return Said(verdict, result, lent.threads, lent.lines)


def signed(message: bytes | None = None, key: SigningKey = KEY, **how: Any) -> bytes:
    return sign(build_message() if message is None else message, DOMAIN, SELECTOR, key, **how)


def zone_of(key: SigningKey = KEY, more: str = "") -> Zone:
    return dkim_records(DOMAIN, SELECTOR, key, more=more)


def record(text: str) -> Zone:
    """A zone whose key record says that."""
    return {(KEY_NAME, "TXT"): [(text.encode(),)]}
