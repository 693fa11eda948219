"""One message's dialogue with a next hop, from MAIL to the answer to the final dot.

It tells what was answered to whom, and how far it came; what follows from that is decided
elsewhere. Commands go out in one write where the hop offers PIPELINING (RFC 2920).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import trio

from edgerelay.mail.envelope import Body
from edgerelay.mail.reply import Reply
from edgerelay.net.transport import TransportError
from edgerelay.relay.attempt import CONTENT_UNREADABLE, Attempt
from edgerelay.relay.connection import Connection, failure_of
from edgerelay.relay.fitness import refusal_of_message, refusal_of_recipient
from edgerelay.relay.settings import RelaySettings
from edgerelay.smtp.errors import PeerProtocolError
from edgerelay.spool.api import PendingDelivery, Spool, SpoolError, StoredMessage

#: Commands in one write at most. Both sides would wait for each other if our commands and
#: their replies together outgrew the buffers between us (RFC 2920 section 3.1).
_GROUP: Final = 100

# A step is the index of a recipient, or one of these.
_RSET: Final = -1
_MAIL: Final = -2
_DATA: Final = -3


class Stage(IntEnum):
    """How far it came. Until `SENT` the message cannot have been delivered."""

    OPENING = 0  #: MAIL was not answered
    OPEN = 1
    SENT = 2  #: the final dot may have left: what is not answered may have been delivered


class Interrupted(Exception):
    """The conversation ended before its end. ``attempt`` has ``reply`` where none was given."""

    def __init__(self, stage: Stage, attempt: Attempt, reply: Reply, detail: str) -> None:
        super().__init__(detail)
        self.stage = stage
        self.attempt = attempt
        self.reply = reply
        self.detail = detail


class ContentUnreadable(Exception):
    """Our own spool failed; the hop is innocent, but the connection is gone."""


@dataclass(slots=True)
class Commitment:
    """Made: a message may have been delivered of which nothing is recorded yet. Whoever holds
    one must then be left alone, or the message is delivered twice."""

    is_made: bool = False


class _Closing(Exception):
    """421: the hop says that it closes the connection (RFC 5321 section 3.8)."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Transaction:
    """``commitment`` is made as the final dot leaves; the caller releases it once the outcome
    is recorded."""

    __slots__ = (
        "_accepted",
        "_commitment",
        "_connection",
        "_delivery",
        "_go_ahead",
        "_refused",
        "_replies",
        "_settings",
        "_spool",
        "_stage",
    )

    def __init__(
        self,
        connection: Connection,
        delivery: PendingDelivery,
        spool: Spool,
        settings: RelaySettings,
        commitment: Commitment,
    ) -> None:
        self._connection = connection
        self._delivery = delivery
        self._spool = spool
        self._settings = settings
        self._commitment = commitment
        self._replies: list[Reply | None] = [None] * len(delivery.recipients)
        self._accepted: list[int] = []
        self._refused: Reply | None = None  # what MAIL was answered
        self._go_ahead = False
        self._stage = Stage.OPENING

    async def run(self) -> Attempt:
        """Return every recipient's reply.

        Raises `Interrupted` and `ContentUnreadable`; the connection is then broken. So it is
        where `Connection.broken` says so although all was answered.
        """
        connection = self._connection
        try:
            await self._converse()
        except _Closing as closing:
            raise self._interrupted(closing.reply, str(closing)) from None
        except (TransportError, PeerProtocolError) as error:
            raise self._interrupted(failure_of(error), str(error)) from None
        except SpoolError as error:
            connection.abort()
            raise ContentUnreadable(str(error)) from error
        except BaseException:
            connection.abort()
            raise
        connection.transactions += 1
        return self._attempt(CONTENT_UNREADABLE)

    async def _converse(self) -> None:
        message, offered = self._delivery.message, self._connection.protocol.capabilities
        replies: list[Reply | None] = self._replies
        keeps = message.envelope.requiretls and self._connection.keeps_requiretls
        if refusal := refusal_of_message(message, offered, keeps_requiretls=keeps):
            replies[:] = [refusal] * len(replies)
        elif not offered.smtputf8:
            replies[:] = [
                refusal_of_recipient(pending, offered) for pending in self._delivery.recipients
            ]
        if wanted := [index for index, reply in enumerate(replies) if reply is None]:
            await self._envelope(wanted, pipelined=offered.pipelining)
        if self._go_ahead:
            await (self._content(message) if self._accepted else self._nothing())

    async def _envelope(self, wanted: list[int], *, pipelined: bool) -> None:
        connection = self._connection
        transport = connection.transport
        steps = [_MAIL, *wanted]
        if connection.wants_rset:
            steps.insert(0, _RSET)
        if not self._in_one_chunk:
            steps.append(_DATA)
        # Until the dot is answered the peer may be left inside a transaction.
        connection.wants_rset = True
        size = _GROUP if pipelined else 1
        for start in range(0, len(steps), size):
            group = steps[start : start + size]
            if self._refused is not None or (group[0] == _DATA and not self._accepted):
                self._refuse_rest(wanted)
                return
            transport.deadline = trio.current_time() + self._settings.command
            await transport.send(b"".join([self._command(step) for step in group]))
            for step in group:
                # One read brings the answers to a group, as a rule.
                reply = connection.protocol.next_reply()
                if reply is None:
                    if step == _DATA:
                        transport.deadline = trio.current_time() + self._settings.data_start
                    reply = await connection.reply()
                self._answered(step, reply)
        if self._in_one_chunk:
            self._refuse_rest(wanted)
            self._go_ahead = bool(self._accepted)

    def _command(self, step: int) -> bytes:
        protocol, delivery = self._connection.protocol, self._delivery
        if step >= 0:
            return protocol.rcpt(delivery.recipients[step].recipient)
        if step == _DATA:
            return protocol.data()
        if step == _RSET:
            return protocol.rset()
        message = delivery.message
        size = len(message.prepend) + message.size
        # Without 8BITMIME the BODY is left out: `fitness` has seen that it may be.
        return protocol.mail(message.envelope, size=size, body=message.envelope.body)

    def _answered(self, step: int, reply: Reply) -> None:
        code = reply.code
        if code == 421:
            raise _Closing(reply)
        if step == _MAIL:
            self._stage = Stage.OPEN
            self._refused = None if _positive(reply, "MAIL") else reply
        elif step >= 0:
            if self._refused is not None:
                self._replies[step] = self._refused
            elif _positive(reply, "RCPT"):
                self._accepted.append(step)
            else:
                self._replies[step] = _too_many(reply) if self._accepted else reply
        elif step == _DATA:
            self._data_answered(reply)

    def _data_answered(self, reply: Reply) -> None:
        if reply.code == 354:
            self._go_ahead = True
        elif reply.code < 400:
            raise PeerProtocolError(f"answered DATA with {reply.code}")
        else:
            for index in self._accepted:
                self._replies[index] = reply

    def _refuse_rest(self, wanted: list[int]) -> None:
        if self._refused is not None:
            for index in wanted:
                self._replies[index] = self._refused

    @property
    def _in_one_chunk(self) -> bool:
        """Binary content has no lines that a final dot could follow (RFC 3030 section 3)."""
        return self._delivery.message.envelope.body is Body.BINARY_MIME

    async def _chunk(self, message: StoredMessage) -> None:
        """All of it but its last octets; until those have left it cannot have been delivered."""
        transport, protocol = self._connection.transport, self._connection.protocol
        size = len(message.prepend) + message.size
        transport.deadline = trio.current_time() + self._settings.data_block
        held = protocol.bdat(size) + message.prepend
        async with aclosing(_chunks(self._spool, message)) as chunks:
            async for chunk in chunks:
                transport.deadline = trio.current_time() + self._settings.data_block
                await transport.send(held)
                held = chunk
        await self._send_last(held)

    async def _content(self, message: StoredMessage) -> None:
        connection, settings, spool = self._connection, self._settings, self._spool
        transport, protocol = connection.transport, connection.protocol
        if self._in_one_chunk:
            return await self._chunk(message)
        transport.deadline = trio.current_time() + settings.data_block
        if (whole := spool.whole(message)) is not None:
            last = protocol.content(message.prepend + whole) + protocol.end_of_data()
        else:
            if message.prepend:
                await transport.send(protocol.content(message.prepend))
            async with aclosing(_chunks(spool, message)) as chunks:
                async for chunk in chunks:
                    transport.deadline = trio.current_time() + settings.data_block
                    await transport.send(protocol.content(chunk))
            last = protocol.end_of_data()
        await self._send_last(last)

    async def _send_last(self, last: bytes) -> None:
        connection, transport = self._connection, self._connection.transport
        # A cancellation that came while we ran would be felt behind the dot: feel it now.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._stage = Stage.SENT
        self._commitment.is_made = True
        await transport.send(last)
        transport.deadline = trio.current_time() + self._settings.data_end
        await self._verdicts()
        connection.wants_rset = False

    async def _verdicts(self) -> None:
        connection = self._connection
        reply = await connection.reply()
        for number, index in enumerate(self._accepted):
            # RFC 2033 section 4.2: one reply for each recipient, in their order.
            if number and connection.is_lmtp and not connection.broken:
                reply = await connection.reply()
            _positive(reply, "the final dot")
            connection.broken |= reply.code == 421
            self._replies[index] = reply

    async def _nothing(self) -> None:
        # RFC 2920 section 3.1: all RCPT failed, DATA was accepted all the same. What is sent
        # is an empty message, and whatever is said of it is not about ours.
        connection = self._connection
        if connection.is_lmtp:
            connection.abort()
            return
        connection.transport.deadline = trio.current_time() + self._settings.data_end
        await connection.transport.send(connection.protocol.end_of_data())
        connection.broken |= (await connection.reply()).code == 421

    def _interrupted(self, reply: Reply, detail: str) -> Interrupted:
        self._connection.abort()
        return Interrupted(self._stage, self._attempt(_transient(reply)), reply, detail)

    def _attempt(self, otherwise: Reply) -> Attempt:
        connection = self._connection
        return Attempt(
            tuple([reply or otherwise for reply in self._replies]),
            hop=connection.hop,
            hop_name=connection.target.name,
            tls=connection.tls,
            reports_success=connection.protocol.capabilities.dsn,
            is_final=connection.is_lmtp,
        )


def _positive(reply: Reply, command: str) -> bool:
    if 300 <= reply.code < 400:
        raise PeerProtocolError(f"answered {command} with {reply.code}")
    return reply.code < 300


def _too_many(reply: Reply) -> Reply:
    """RFC 5321 section 4.5.3.1.10: after others were accepted, a bare 552 means "too many
    recipients" and is transient; one that names another reason means that."""
    if reply.code == 552 and reply.enhanced in ("", "5.5.3"):
        return Reply(452, "4.5.3", reply.text)
    return reply


def _transient(reply: Reply) -> Reply:
    """An end of the conversation says nothing final about a recipient."""
    return reply if reply.is_transient else Reply(451, "", reply.text)


async def _chunks(spool: Spool, message: StoredMessage) -> AsyncGenerator[bytes, None]:
    async for chunk in spool.chunks(message):
        yield chunk
