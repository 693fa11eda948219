"""Octets and messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerelay.control.frames import HEADER, MAX_FRAME, FrameError, body_length, decode, encode
from edgerelay.control.messages import Configure, Message, QueueAct
from edgerelay.spool.api import Filter, Status


def through(message: Message) -> Message:
    frame = encode(message)
    assert body_length(frame[:HEADER]) == len(frame) - HEADER
    return decode(frame[HEADER:])


def test_an_action_arrives_with_its_filter() -> None:
    message = QueueAct(action="hold", ids=("A",), filter=Filter(status=Status.QUEUED), reason="x")
    assert through(message) == message


def test_what_is_too_long_is_not_sent() -> None:
    with pytest.raises(FrameError, match="a Configure of"):
        encode(Configure(settings=bytes(MAX_FRAME)))


@given(st.binary(max_size=200))
def test_nonsense_is_a_frame_error_and_nothing_else(body: bytes) -> None:
    try:
        decode(body)
    except FrameError:
        return
