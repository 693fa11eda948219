"""Sockets that a service manager passed are found by their names, or it is said why not."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from edgerelay.supervisor.inherited import inherited_sockets
from edgerelay.supervisor.start import StartError, bind

#: A place in the table of descriptors where nobody is: 3 is somebody's in a test.
HERE = 500


@pytest.fixture
def passed() -> Iterator[list[int]]:
    """Descriptors from HERE on, which the test fills."""
    descriptors: list[int] = []
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def put(passed: list[int], *sockets: socket.socket) -> dict[str, str]:
    """What the environment says of them, without names."""
    for each in sockets:
        target = HERE + len(passed)
        os.dup2(each.fileno(), target)
        passed.append(target)
        each.close()
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sockets))}


def test_sockets_are_found_by_name_and_kept_from_children(passed: list[int]) -> None:
    three = [bind("127.0.0.1", 0), bind("::1", 0), bind("127.0.0.1", 0)]
    environment = put(passed, *three) | {"LISTEN_FDNAMES": "smtp:smtp:other"}
    found = inherited_sockets(environment, HERE)
    assert {name: len(sockets) for name, sockets in found.items()} == {"smtp": 2, "other": 1}
    assert environment == {}
    for each in (each for sockets in found.values() for each in sockets):
        assert not each.get_inheritable()
        assert not each.getblocking()
        each.detach()


def test_what_was_passed_to_somebody_else_is_not_ours(passed: list[int]) -> None:
    environment = put(passed, bind("127.0.0.1", 0)) | {"LISTEN_PID": str(os.getppid())}
    assert inherited_sockets(environment, HERE) == {}
    assert inherited_sockets({}, HERE) == {}


@pytest.mark.parametrize(
    "kind", [(socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_STREAM)]
)
def test_one_that_nobody_could_accept_from_is_refused(
    passed: list[int], kind: tuple[socket.AddressFamily, socket.SocketKind]
) -> None:
    environment = put(passed, socket.socket(*kind)) | {"LISTEN_FDNAMES": "smtp"}
    with pytest.raises(StartError, match="fd:smtp is no listening TCP socket"):
        inherited_sockets(environment, HERE)
    passed.clear()  # the socket that was refused has closed it


def test_a_descriptor_that_is_not_there_is_told() -> None:
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    with pytest.raises(StartError, match="fd:unknown is no socket: Bad file descriptor"):
        inherited_sockets(environment, HERE + 100)
