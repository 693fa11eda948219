"""A message as octets: four octets of length (big endian), then msgpack.

Knows no stream: the channel (Trio) and the command line's client (a blocking socket) share it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from edgerelay.control.messages import Message

#: Octets in one frame. A listing stops well before it; a longer one is a broken peer.
MAX_FRAME: Final = 16 * 1024 * 1024
HEADER: Final = 4

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


class FrameError(Exception):
    """The other side does not speak as we do. The text is for the operator."""


def encode(message: Message) -> bytes:
    """Return the frame. Raises FrameError if it would be over `MAX_FRAME`."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise FrameError(f"a {type(message).__name__} of {len(body)} octets is too long")
    return len(body).to_bytes(HEADER, "big") + body


def body_length(header: bytes) -> int:
    """Return how many octets follow this header. Raises FrameError."""
    length = int.from_bytes(header, "big")
    if length > MAX_FRAME:
        raise FrameError(f"a frame of {length} octets is too long")
    return length


def decode(body: bytes | bytearray | memoryview) -> Message:
    """Raises FrameError."""
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise FrameError(f"not a message of ours: {error}") from error
