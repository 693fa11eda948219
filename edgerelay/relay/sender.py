"""Hands one delivery at a time to whichever next hop takes it, over a connection it keeps.

It knows failover and what is safe to try again at once; queues, retries and reports are
others'. It starts no task.
"""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Final

from edgerelay.mail.reply import Reply
from edgerelay.observe.events import Observer, Trouble
from edgerelay.relay.attempt import (
    CONTENT_UNREADABLE,
    NO_CONNECTION,
    NO_MAIL_HOST,
    Attempt,
    refused_by_policy,
    same_for_all,
)
from edgerelay.relay.connection import Connection, HandshakeFailed, HopUnusable, Opener, Target
from edgerelay.relay.finding import NotFound
from edgerelay.relay.hops import Hops
from edgerelay.relay.maildir import MaildirWriter
from edgerelay.relay.settings import HopKind, HopTls
from edgerelay.relay.transaction import (
    Commitment,
    ContentUnreadable,
    Interrupted,
    Stage,
    Transaction,
)
from edgerelay.spool.api import REFUSED_LANE, PendingDelivery, Spool

#: Seconds after which a connection is given up between two messages, so that a hop that is
#: preferred, or has been added, gets its share again.
MAX_AGE: Final = 300.0


class NoHop(Exception):
    """No next hop takes mail at the moment. ``detail`` is for the operator."""

    def __init__(self, reply: Reply, detail: str) -> None:
        super().__init__(detail)
        self.reply = reply
        self.detail = detail


class Sender:
    """``commitment`` tells when its task must be left alone."""

    def __init__(
        self,
        hops: Hops,
        opener: Opener,
        spool: Spool,
        maildirs: MaildirWriter,
        observer: Observer,
    ) -> None:
        self.commitment: Final = Commitment()
        self._hops = hops
        self._opener = opener
        self._spool = spool
        self._maildirs = maildirs
        self._observer = observer
        self._connection: Connection | None = None

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def deliver(self, delivery: PendingDelivery) -> Attempt:
        """Return what became of each recipient. Raises `NoHop` if nobody could be asked."""
        if delivery.lane == REFUSED_LANE:
            return refused_by_policy(len(delivery.recipients), delivery.reason)
        connection = self._connection
        if connection is not None:
            try:
                return await self._transact(connection, delivery)
            except Interrupted as cut:
                if cut.stage is Stage.SENT:
                    return cut.attempt
                # A kept connection may have been dead before we said a word, and nothing
                # was delivered: at once again, on a fresh one.
        return await self._deliver_afresh(delivery)

    async def _deliver_afresh(self, delivery: PendingDelivery) -> Attempt:
        reply, detail, refusals, others = NO_CONNECTION, "no next hop", list[Reply](), 0
        async with aclosing(self._hops.targets()) as targets:
            async for target in targets:
                if isinstance(target, NotFound):
                    reply, detail = target.reply, str(target.reply)
                    refusals.append(reply)
                    continue
                try:
                    return await self._try(target, delivery)
                except HopUnusable as unusable:
                    reply, detail = unusable.reply, unusable.detail
                if reply.code == 521 and self._hops.is_domains_own(target):
                    refusals.append(NO_MAIL_HOST)  # RFC 7504 section 3: never, not just now
                else:
                    others += 1
                self._hops.failed(target)
        if not others and refusals and all(one.is_permanent for one in refusals):
            return same_for_all(len(delivery.recipients), refusals[0])
        raise NoHop(reply, detail)

    async def _try(self, target: Target, delivery: PendingDelivery) -> Attempt:
        """Deliver over a fresh connection. Raises `HopUnusable` if another hop may be asked."""
        if target.kind is HopKind.MAILDIR and isinstance(target.address, Path):
            attempt, trouble = await self._maildirs.deliver(delivery, target.address)
            if trouble:
                self._observer(Trouble(where="maildir", what="not delivered", detail=trouble))
            return attempt
        connection = await self._open(target)
        try:
            attempt = await self._transact(connection, delivery)
        except Interrupted as cut:
            if cut.stage is Stage.OPENING:
                raise HopUnusable(cut.reply, f"{target}: {cut.detail}") from None
            return cut.attempt
        self._hops.worked(target)
        return attempt

    async def _open(self, target: Target) -> Connection:
        try:
            return await self._opener.open(target, self._hops.rule_for(target))
        except HandshakeFailed:
            self._hops.handshake_failed(target)
            return await self._opener.open(target, HopTls.OFF)

    async def _transact(self, connection: Connection, delivery: PendingDelivery) -> Attempt:
        self._connection = connection
        transaction = Transaction(
            connection, delivery, self._spool, self._opener.settings, self.commitment
        )
        try:
            return await transaction.run()
        except ContentUnreadable as error:
            queue_id = delivery.message.queue_id
            self._observer(
                Trouble(where="spool", what=f"cannot read {queue_id}", detail=str(error))
            )
            return same_for_all(len(delivery.recipients), CONTENT_UNREADABLE)
        finally:
            if connection.broken:
                self._connection = None
                connection.transport.abort()

    def has_served(self, now: float) -> bool:
        """Whether the connection is to be closed before another message, by trio's clock."""
        connection = self._connection
        return connection is not None and now - connection.opened > MAX_AGE

    async def close(self) -> None:
        """Say QUIT. Bounded; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.quit()

    def abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
