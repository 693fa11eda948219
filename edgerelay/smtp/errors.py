"""Whose fault it was: the peer's, or that of the code that calls us."""

from __future__ import annotations


class PeerProtocolError(Exception):
    """The server we speak to broke the protocol. The text is for the operator, escaped."""


class PeerClosedError(PeerProtocolError):
    """The server closed the connection while it still owed us replies."""


class LocalProtocolError(Exception):
    """The caller asked for what the protocol does not allow now: a defect of ours."""
