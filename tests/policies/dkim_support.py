"""The policy `Dkim` asked about one message: what it is lent, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import trio

from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.mail.envelope import Envelope
from edgerelay.pipeline.message import read_message
from edgerelay.policy import (
    DkimResult,
    DkimSignature,
    Evidence,
    Log,
    MailTransaction,
    MessageVerdict,
    Resolver,
    Session,
    Table,
)
from edgerelay.tables.memory import MemoryTables
from edgerelay.testing.literal_dns import LiteralResolver, Zone
from edgerelay.testing.messages import TEST_KEYS, SigningKey, build_message, dkim_records, sign
from edgerelay_policies.dkim import Dkim, DkimOptions

T = TypeVar("T")

NOW = 1_800_000_000.0
DOMAIN, SELECTOR = "sender.example", "s1"
KEY = TEST_KEYS["ed25519"]


@dataclass(slots=True)
class Lent:
    """`Services` of a policy that uses the DNS, the clock and threads."""

    dns: Resolver
    time: float = NOW
    hostname: str = "mx.receiver.example"
    log: Log = lambda text, /, **facts: None
    in_threads: int = 0  #: calls that would have run in one

    def now(self) -> float:
        return self.time

    def table(self, name: str = "") -> Table:
        return MemoryTables(self.now).table(name)

    async def connect(self, address: tuple[str, int] | Path, *, timeout: float) -> trio.abc.Stream:
        raise OSError("nobody listens")

    async def run_blocking(self, function: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        self.in_threads += 1
        return function()


@dataclass(slots=True)
class Published:
    """`Asked`: keeps what a policy publishes."""

    kept: list[Evidence] = field(default_factory=list)

    async def evidence(self, kind: type[T]) -> T:
        raise NotImplementedError(kind)

    async def evidence_if_any(self, kind: type[T]) -> T | None:
        return None

    def provide(self, evidence: Evidence) -> None:
        self.kept.append(evidence)


@dataclass(slots=True)
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
    lent: Lent

    @property
    def words(self) -> list[str]:
        """``pass``, or the outcome with its reason."""
        return [in_words(signature) for signature in self.result.signatures]


def in_words(signature: DkimSignature) -> str:
    return " ".join(filter(None, (signature.outcome.value, signature.reason)))


async def ask(
    message: bytes,
    zone: Zone | Resolver,
    *,
    time: float = NOW,
    in_memory: bool = True,
    **options: Any,
) -> Said:
    dns = zone if hasattr(zone, "resolve") else LiteralResolver(zone)
    lent = Lent(dns, time)
    asked = Published()
    session = Session(ip_address("192.0.2.1"), "TOKEN")
    transaction = MailTransaction(asked, session, Envelope(NULL_REVERSE_PATH), ())
    view = await read_message(Stored(message, in_memory))
    async with Dkim(DkimOptions(**options), lent) as policy:
        verdict = await policy.on_message(transaction, view)
    [result] = asked.kept
    assert isinstance(result, DkimResult)
    return Said(verdict, result, lent)


def signed(message: bytes | None = None, key: SigningKey = KEY, **how: Any) -> bytes:
    return sign(build_message() if message is None else message, DOMAIN, SELECTOR, key, **how)


def zone(key: SigningKey = KEY, more: str = "") -> Zone:
    return dkim_records(DOMAIN, SELECTOR, key, more=more)
