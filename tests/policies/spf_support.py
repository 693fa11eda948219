"""The policy `Spf` asked about one MAIL command: what it is lent, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, TypeVar

import trio

from edgerelay.mail.address import Mailbox, ReversePath
from edgerelay.mail.envelope import Envelope
from edgerelay.policy import (
    Evidence,
    Log,
    MailTransaction,
    Resolver,
    Session,
    SpfResult,
    Table,
    Verdict,
)
from edgerelay.tables.memory import MemoryTables
from edgerelay_policies.spf import Spf, SpfOptions

T = TypeVar("T")
NOW = 1_700_000_000.0


@dataclass(slots=True)
class Lent:
    """`Services` of a policy that uses the DNS and the clock and nothing else."""

    dns: Resolver
    hostname: str = "mx.receiver.test"
    log: Log = lambda text, /, **facts: None

    def now(self) -> float:
        return NOW

    def table(self, name: str = "") -> Table:
        return MemoryTables(self.now).table(name)

    async def connect(self, address: tuple[str, int] | Path, *, timeout: float) -> trio.abc.Stream:
        raise OSError("nobody listens")

    async def run_blocking(self, function: Callable[[], T], /) -> T:
        return function()


@dataclass(slots=True)
class Published:
    """`Asked`: keeps what a policy publishes."""

    evidence_: list[Evidence] = field(default_factory=list)

    async def evidence(self, kind: type[T]) -> T:
        raise NotImplementedError(kind)

    async def evidence_if_any(self, kind: type[T]) -> T | None:
        return None

    def provide(self, evidence: Evidence) -> None:
        self.evidence_.append(evidence)


class Said(NamedTuple):
    verdict: Verdict
    result: SpfResult


async def mail(
    policy: Spf,
    client: str | None,
    mail_from: Mailbox | str | None,
    helo: str = "mx.sender.test",
    *,
    is_trusted: bool = False,
    is_authenticated: bool = False,
) -> Said:
    """Ask the policy; ``mail_from`` None is the null reverse-path."""
    if isinstance(mail_from, str):
        local_part, _, domain = mail_from.rpartition("@")
        mail_from = Mailbox(local_part, domain)
    session = Session(
        None if client is None else ip_address(client),
        "TOKEN",
        helo=helo,
        is_trusted=is_trusted,
        is_authenticated=is_authenticated,
    )
    asked = Published()
    transaction = MailTransaction(asked, session, Envelope(ReversePath(mail_from)), ())
    verdict = await policy.on_mail(transaction)
    [result] = asked.evidence_
    assert isinstance(result, SpfResult)
    return Said(verdict, result)


def spf(dns: Resolver, options: SpfOptions | None = None) -> Spf:
    return Spf(options or SpfOptions(), Lent(dns))
