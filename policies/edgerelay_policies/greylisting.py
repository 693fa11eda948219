"""Greylisting: who was never met is asked to come again, which mail servers do (RFC 6647).

Kept in the table, each with its own end:

    t KEY   "FIRST"           a first attempt at that time; waits for the retry
    t KEY   "FIRST REFRESHED" it was retried in time: known
    k WHO   "COUNT REFRESHED" so many different triplets of a network or domain were retried

A triplet is who sends, the reverse-path and the forward-path. Who sends is the client's network,
or the domain for which SPF or DKIM says pass: large senders retry from anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_network
from typing import Annotated, Literal

from edgerelay.policy import (
    CONTINUE,
    Defer,
    DkimResult,
    Duration,
    ForwardPath,
    MailTransaction,
    Message,
    MessageVerdict,
    Policy,
    Reply,
    Session,
    SpfOutcome,
    SpfResult,
    Stage,
    Verdict,
    Whole,
)

DAY = 86_400.0
#: A known entry is written again at most this often, so that mail of friends costs no write.
REFRESH = DAY
COME_AGAIN = Defer(Reply(451, "4.7.1", "Greylisted: please try again in a few minutes"))


@dataclass(frozen=True, slots=True)
class Options:
    delay: Duration = 300.0  #: a retry is welcome after this time
    retry_window: Duration = 2 * DAY  #: and is waited for this long
    remember: Duration = 36 * DAY  #: who came back is known this long after the last message
    ipv4_prefix: Annotated[int, Whole(8, 32)] = 24  #: bits of an address that are its network
    ipv6_prefix: Annotated[int, Whole(16, 128)] = 64
    skip_authenticated: bool = True  #: who has logged in is no stranger
    auto_allow_after: Annotated[int, Whole(1, 1000)] = 5  #: retried triplets make a friend
    decide: Literal["rcpt", "data"] = "rcpt"  #: with "data" after the dot, so that DKIM counts


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: a name to be known by, and after how many retried triplets it is a friend."""

    name: str
    friend_after: int


class Greylisting(Policy[Options]):
    """Defer the first attempt of each network, reverse-path and forward-path."""

    options_type = Options
    wants = (SpfResult, DkimResult)
    has_effects = True

    async def on_rcpt(self, transaction: MailTransaction, forward_path: ForwardPath) -> Verdict:
        if self.options.decide != "rcpt" or self._is_no_stranger(transaction.session):
            return CONTINUE
        sender = await self._sender(transaction, Stage.RCPT)
        return CONTINUE if await self._is_known(sender, transaction, forward_path) else COME_AGAIN

    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        if self.options.decide != "data" or self._is_no_stranger(transaction.session):
            return CONTINUE
        sender = await self._sender(transaction, Stage.MESSAGE)
        # Each is asked, so that at the retry all of them are known.
        known = [
            await self._is_known(sender, transaction, path) for path in transaction.forward_paths
        ]
        return CONTINUE if all(known) else COME_AGAIN

    def _is_no_stranger(self, session: Session) -> bool:
        return (
            session.is_trusted
            or (session.is_authenticated and self.options.skip_authenticated)
            or session.client is None
        )

    async def _sender(self, transaction: MailTransaction, stage: Stage) -> Sender:
        # A domain that is known by one retry is skipped: it has vouched for its client itself.
        spf = await transaction.evidence_if_any(SpfResult)
        check = spf.mail_from if spf is not None else None
        if check is not None and check.outcome is SpfOutcome.PASS and check.domain:
            return Sender(f"d {check.domain.lower()}", 1)
        if stage is Stage.MESSAGE:
            dkim = await transaction.evidence_if_any(DkimResult)
            if dkim is not None and dkim.passed:
                return Sender(f"d {dkim.passed[0].domain.lower()}", 1)
        return Sender(f"n {self._network(transaction.session)}", self.options.auto_allow_after)

    def _network(self, session: Session) -> str:
        client = session.client
        if client is None:
            return "none"
        bits = self.options.ipv4_prefix if client.version == 4 else self.options.ipv6_prefix
        return str(ip_network((client, bits), strict=False))

    async def _is_known(
        self, sender: Sender, transaction: MailTransaction, forward_path: ForwardPath
    ) -> bool:
        if await self._is_friend(sender):
            return True
        key = _triplet(sender, transaction, forward_path)
        now, options = self.services.now(), self.options
        table = self.services.table()
        before = await table.get(key)
        if before is not None and _is_fresh(before, now):
            return True
        has_passed = False

        def look(standing: bytes | None) -> tuple[bytes, float] | None:
            nonlocal has_passed
            has_passed = False
            if standing is None:
                return b"%.3f" % now, options.retry_window
            first, _, refreshed = standing.partition(b" ")
            if refreshed:  # known: written again so that it lasts
                return b"%b %.3f" % (first, now), options.remember
            if now - float(first) < options.delay:
                return None
            has_passed = True
            return b"%b %.3f" % (first, now), options.remember

        standing = await table.update(key, look)
        if has_passed:
            await self._count(sender, now)
        return standing is not None and b" " in standing

    async def _is_friend(self, sender: Sender) -> bool:
        known = await self.services.table().get(f"k {sender.name}")
        if known is None:
            return False
        count = int(known.partition(b" ")[0])
        if count < sender.friend_after:
            return False
        now = self.services.now()
        if not _is_fresh(known, now):
            await self.services.table().update(
                f"k {sender.name}",
                lambda standing: (
                    b"%b %.3f" % ((standing or known).partition(b" ")[0], now),
                    self.options.remember,
                ),
            )
        return True

    async def _count(self, sender: Sender, now: float) -> None:
        """One more triplet of this sender was retried in time."""

        def more(standing: bytes | None) -> tuple[bytes, float]:
            count = int(standing.partition(b" ")[0]) if standing else 0
            return b"%d %.3f" % (count + 1, now), self.options.remember

        await self.services.table().update(f"k {sender.name}", more)


def _is_fresh(value: bytes, now: float) -> bool:
    """It is known, and was written less than a day ago."""
    refreshed = value.partition(b" ")[2]
    return bool(refreshed) and abs(now - float(refreshed)) < REFRESH


def _triplet(sender: Sender, transaction: MailTransaction, forward_path: ForwardPath) -> str:
    """Strangers choose the addresses, so a key has one size: that of a digest."""
    reverse = transaction.envelope.reverse_path.mailbox
    forward = forward_path.mailbox
    parts = (
        sender.name,
        f"{reverse.local_part}@{reverse.domain_key}" if reverse is not None else "",
        f"{forward.local_part}@{forward.domain_key}",
    )
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return f"t {sha256(text).hexdigest()}"
