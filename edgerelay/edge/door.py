"""How full the house is: who gets a place, who is turned away, and when it is under stress.

A place is a connection that was accepted, its session begun or not. Close to the most there may
be, waits become short (`Patience`), so that who is idle makes room for who has mail. What is
left of the descriptors is for deliveries, the spool and look-ups: they must go on when clients
take all they can get.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio
from trio.lowlevel import ParkingLot

from edgerelay.edge import replies
from edgerelay.edge.settings import EdgeSettings

#: Shares of all places from which on, and below which again, waits are short or not. A relay
#: that is merely busy must not lose its clients, hence so late.
_STRESSED: Final = 0.95
_RELAXED: Final = 0.80
#: Seconds that a command and a block of content may take under stress.
_COMMAND_UNDER_STRESS: Final = 10.0
_DATA_UNDER_STRESS: Final = 30.0
#: Octets of a PROXY header, and of who speaks first, that are read before we hang up: what is
#: left unread would reset the connection, and our last words with it.
_UNREAD: Final = 4096


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a client may take: for a whole command, and for each block of content."""

    command: float
    data: float
    is_short: bool = False  #: for others wait for a place


def patience_of(settings: EdgeSettings) -> Patience:
    return Patience(settings.command_timeout, settings.data_timeout)


def patience_under_stress(settings: EdgeSettings) -> Patience:
    """Never longer than without."""
    return Patience(
        min(settings.command_timeout, _COMMAND_UNDER_STRESS),
        min(settings.data_timeout, _DATA_UNDER_STRESS),
        is_short=True,
    )


def connections_within(wanted: int, descriptors: int) -> int:
    """How many of ``wanted`` connections there can be, if a quarter of what the kernel gives
    this process, or 64, are to be left for everything else."""
    return max(1, min(wanted, descriptors - max(64, descriptors // 4)))


class Door:
    """Counts places. ``on_stress`` hears when stress begins and ends."""

    def __init__(self, places: int, on_stress: Callable[[bool], None]) -> None:
        self._places = places
        self._on_stress = on_stress
        self._taken = 0
        self._is_stressed = False
        self._room = ParkingLot()

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def left(self) -> int:
        return self._places - self._taken

    def enter(self) -> None:
        self._taken += 1
        if not self._is_stressed and self._taken >= self._places * _STRESSED:
            self._is_stressed = True
            self._on_stress(True)

    def leave(self) -> None:
        self._taken -= 1
        self._room.unpark()
        if self._is_stressed and self._taken < self._places * _RELAXED:
            self._is_stressed = False
            self._on_stress(False)

    async def wait(self, within: float) -> None:
        """Until somebody leaves, or so many seconds have passed."""
        with trio.move_on_after(within):
            await self._room.park()


def turn_away(connection: socket.socket, hostname: str, *, speaks_tls: bool) -> None:
    """Say 421 (RFC 5321 section 3.8) and hang up, without waiting for anything.

    Who expects a handshake could not read it.
    """
    with connection, suppress(OSError):
        connection.setblocking(False)
        if not speaks_tls:
            connection.send(bytes(replies.last_words(hostname, "full")))
            connection.shutdown(socket.SHUT_WR)
        connection.recv(_UNREAD)
