"""Whose fault it was can be told from the type."""

from __future__ import annotations

from edgerelay.smtp.errors import LocalProtocolError, PeerClosedError, PeerProtocolError


def test_a_server_that_leaves_broke_the_protocol_too() -> None:
    assert issubclass(PeerClosedError, PeerProtocolError)


def test_our_own_mistake_is_never_taken_for_the_peers() -> None:
    assert not issubclass(LocalProtocolError, PeerProtocolError)
    assert not issubclass(PeerProtocolError, LocalProtocolError)
