"""Asks a next hop whether it would take a recipient, without sending it anything.

MAIL FROM:<>, RCPT and QUIT: a plain callout. Its answer is the hop's own reply; what to think
of it, and for how long, is the caller's.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

import trio

from edgerelay.mail.address import NULL_REVERSE_PATH, ForwardPath
from edgerelay.mail.envelope import Envelope, Recipient
from edgerelay.mail.reply import Reply
from edgerelay.net.transport import TransportError
from edgerelay.relay.attempt import NOT_ASCII
from edgerelay.relay.callout import ProbeFailed
from edgerelay.relay.connection import Connection, HandshakeFailed, HopUnusable, Opener, Target
from edgerelay.relay.finding import NotFound
from edgerelay.relay.hops import HopMemory, Hops
from edgerelay.relay.routing import LaneSpec
from edgerelay.relay.settings import HopKind, HopTls
from edgerelay.smtp.errors import PeerProtocolError

#: Seconds for all of it: a client waits for the answer to its RCPT.
WITHIN: Final = 20.0


class Prober:
    """Callable with a lane and a forward-path: see `edgerelay.relay.callout.Prober`."""

    def __init__(self, opener: Opener, hops: HopMemory) -> None:
        self._opener = opener
        self._hops = hops

    async def __call__(self, lane: LaneSpec, forward_path: ForwardPath) -> Reply:
        """Return the hop's reply to RCPT.

        Raises `ProbeFailed` if no hop said anything about it within 20 seconds.
        """
        with trio.move_on_after(WITHIN):
            return await self._ask_hops(lane, forward_path)
        raise ProbeFailed(f"no answer within {WITHIN:g} s")

    async def _ask_hops(self, lane: LaneSpec, forward_path: ForwardPath) -> Reply:
        why = "no next hop can be asked"
        hops = self._hops.of(lane)
        async with aclosing(hops.targets()) as targets:
            async for target in targets:
                if isinstance(target, NotFound):
                    if target.reply.is_permanent:
                        return target.reply
                    why = str(target.reply)
                elif target.kind is not HopKind.MAILDIR:
                    try:
                        return await self._ask(hops, target, forward_path)
                    except HopUnusable as unusable:
                        why = unusable.detail
                    except (TransportError, PeerProtocolError) as error:
                        why = f"{target}: {error}"
                    hops.failed(target)
        raise ProbeFailed(why)

    async def _ask(self, hops: Hops, target: Target, forward_path: ForwardPath) -> Reply:
        try:
            connection = await self._opener.open(target, hops.rule_for(target))
        except HandshakeFailed:
            hops.handshake_failed(target)
            connection = await self._opener.open(target, HopTls.OFF)
        try:
            reply = await self._converse(connection, forward_path)
            if reply.code == 421:
                raise HopUnusable(reply, f"{target}: {reply}")
            hops.worked(target)
        except BaseException:
            connection.abort()
            raise
        await connection.quit()
        return reply

    async def _converse(self, connection: Connection, forward_path: ForwardPath) -> Reply:
        protocol, within = connection.protocol, WITHIN
        needs_utf8 = not forward_path.mailbox.is_ascii
        if needs_utf8 and not protocol.capabilities.smtputf8:
            return NOT_ASCII
        envelope = Envelope(NULL_REVERSE_PATH, smtputf8=needs_utf8)
        command = protocol.mail(envelope, size=0, body=None)
        if protocol.capabilities.pipelining:
            command += protocol.rcpt(Recipient(forward_path))
            _expect_success(connection, await connection.ask(command, within))
            return await connection.reply()
        _expect_success(connection, await connection.ask(command, within))
        return await connection.ask(protocol.rcpt(Recipient(forward_path)), within)


def _expect_success(connection: Connection, reply: Reply) -> None:
    if reply.code >= 300:
        # It says nothing about the recipient: perhaps the hop takes no null reverse-path.
        raise HopUnusable(reply, f"{connection.hop}: MAIL: {reply}")
