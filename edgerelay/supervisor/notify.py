"""Tell systemd how we are (sd_notify); without systemd, say nothing."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send ``READY=1`` and the like to the socket that $NOTIFY_SOCKET names, if it does.

    A datagram, sent without waiting; a manager that does not listen is no trouble of ours.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as datagram:
        try:
            datagram.sendto(state.encode(), address)
        except OSError:
            return
