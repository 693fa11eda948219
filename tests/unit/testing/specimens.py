"""Policies with manners good and bad, as a third party writes them: from the public API alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trio

from edgerelay.policy import (
    CONTINUE,
    Connection,
    Defer,
    DkimResult,
    ForwardPath,
    MailTransaction,
    Message,
    MessageVerdict,
    PerRecipient,
    Policy,
    Prepend,
    Reject,
    Reply,
    SpfResult,
    Stage,
    Status,
    TableError,
    Tag,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Options:
    #: How often a network may come.
    limit: int = 3


class Good(Policy[Options]):
    """Uses all that there is, as it should be used."""

    options_type = Options
    provides = (SpfResult,)
    provides_at = Stage.MAIL
    wants = (DkimResult,)
    has_effects = True

    async def on_mail(self, transaction: MailTransaction) -> Verdict:
        answer = await self.services.dns.resolve("sender.example", "TXT")
        transaction.provide(SpfResult(()))
        if answer.status is Status.TEMPORARY:
            return Defer(Reply(451, "4.4.3", "Try again later"))
        return Tag((Prepend("X-Seen", "yes"),))

    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        await transaction.evidence_if_any(DkimResult)
        key = str(transaction.session.client)
        try:
            seen = int(await self.services.table().setdefault(key, b"0", expires_in=60))
            await self.services.table().put(key, b"%d" % (seen + 1), expires_in=60)
        except TableError:
            return CONTINUE
        size = sum([len(chunk) async for chunk in message.chunks()])
        if size > 10_000_000:
            return PerRecipient(
                dict.fromkeys(transaction.forward_paths, Reject(Reply(552, "5.3.4", "Too much")))
            )
        return CONTINUE


class Undocumented(Policy[Any]):
    pass


class ChokesOnNames(Policy[Any]):
    """Thinks that every name is ASCII."""

    async def on_ehlo(self, connection: Connection) -> Verdict:
        connection.session.helo.encode("ascii")
        return CONTINUE


class ChokesOnNull(Policy[Any]):
    """Thinks that everybody has an address."""

    async def on_mail(self, transaction: MailTransaction) -> Verdict:
        assert transaction.envelope.reverse_path.mailbox is not None
        return CONTINUE


class ChokesOnLarge(Policy[Any]):
    """Thinks that every body is in memory."""

    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        assert message.body is not None
        return CONTINUE


class ChokesOnHeaders(Policy[Any]):
    """Thinks that every message says where it is from."""

    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        message.named("subject")[0]
        return CONTINUE


class ChokesOnDns(Policy[Any]):
    """Thinks that the DNS is always there."""

    async def on_connect(self, connection: Connection) -> Verdict:
        answer = await self.services.dns.resolve("a.example", "A")
        assert answer.status is not Status.TEMPORARY
        return CONTINUE


class Writes(Policy[Any]):
    """Keeps something, and does not say so."""

    async def on_connect(self, connection: Connection) -> Verdict:
        await self.services.table().put("last", b"client", expires_in=60)
        return CONTINUE


class Undeclared(Policy[Any]):
    """Publishes what it does not announce."""

    async def on_connect(self, connection: Connection) -> Verdict:
        connection.provide(SpfResult(()))
        return CONTINUE


class NoVerdict(Policy[Any]):
    """Forgets to answer."""

    async def on_rcpt(self, transaction: MailTransaction, forward_path: ForwardPath) -> Verdict:
        return None  # type: ignore[return-value]  # what is tested


class LeavesTasks(Policy[Any]):
    """Spawns into the air."""

    async def on_connect(self, connection: Connection) -> Verdict:
        trio.lowlevel.spawn_system_task(trio.sleep, 100_000)
        return CONTINUE


class NeverQuiteRight(Policy[Any]):
    """Is broken for good by a cancellation in the wrong moment."""

    busy = False

    async def on_connect(self, connection: Connection) -> Verdict:
        if self.busy:
            raise RuntimeError("somebody is in here")
        self.busy = True
        await self.services.dns.resolve(f"{connection.session.client}.example", "A")
        self.busy = False
        return CONTINUE


@dataclass(frozen=True, slots=True)
class Unexplained:
    limit: int = 3


class UnexplainedOption(Policy[Unexplained]):
    """Has an option that nobody understands."""

    options_type = Unexplained


@dataclass(slots=True)
class Loose:
    #: A number.
    limit: int = 3


class LooseOptions(Policy[Loose]):
    """Has options that may change."""

    options_type = Loose


@dataclass(frozen=True, slots=True)
class Required:
    #: A number.
    limit: int


class RequiredOption(Policy[Required]):
    """Has an option without default."""

    options_type = Required
