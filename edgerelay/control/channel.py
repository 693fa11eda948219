"""Messages over a Trio stream, whole or not at all, in both directions at once."""

from __future__ import annotations

from typing import Final

import trio
import trio.abc

from edgerelay.control.frames import HEADER, FrameError, body_length, decode, encode
from edgerelay.control.messages import Message

_READ: Final = 64 * 1024


class Channel:
    """One task may receive while any number send. Owns the stream.

    A send that is cancelled half-way leaves the peer with half a frame: the channel is then
    closed for sending, and says so with `trio.BrokenResourceError`.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream: Final = stream
        self._sending: Final = trio.Lock()
        self._broken = False
        self._buffer = bytearray()

    async def send(self, message: Message) -> None:
        """Send it, after those that were sent before.

        Raises FrameError if it is too long (nothing was sent), `trio.BrokenResourceError`
        or `trio.ClosedResourceError` if the peer is gone.
        """
        frame = encode(message)
        async with self._sending:
            if self._broken:
                raise trio.BrokenResourceError("an earlier message was not sent whole")
            self._broken = True
            await self._stream.send_all(frame)
            self._broken = False

    async def receive(self) -> Message | None:
        """Return the next message, or None when the peer is gone, politely or not.

        Raises FrameError. A cancelled receive loses nothing.
        """
        try:
            if not await self._fill(HEADER, at_start=True):
                return None
            length = body_length(bytes(self._buffer[:HEADER]))
            await self._fill(HEADER + length, at_start=False)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None
        body = bytes(self._buffer[HEADER : HEADER + length])
        del self._buffer[: HEADER + length]
        return decode(body)

    async def _fill(self, wanted: int, *, at_start: bool) -> bool:
        while len(self._buffer) < wanted:
            data = await self._stream.receive_some(_READ)
            if not data:
                if at_start and not self._buffer:
                    return False
                raise FrameError("the stream ended within a message")
            self._buffer += data
        return True

    async def aclose(self) -> None:
        await self._stream.aclose()
