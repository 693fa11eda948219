"""A reload binds what is new, keeps what is still wanted, and closes the rest at the end."""

from __future__ import annotations

import os

import pytest

from edgerelay.supervisor.sockets import Sockets
from edgerelay.supervisor.start import StartError

ANY = ("127.0.0.1", 0)
OTHER = ("127.0.0.2", 0)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_an_address_that_stays_keeps_its_socket() -> None:
    before = Sockets([ANY, OTHER, ANY])
    first, other, second = before.fds
    after = before.changed_to([OTHER, ANY, ("127.0.0.3", 0)])
    assert after.fds[:2] == (other, first)
    assert len(set(after.names)) == 3
    before.close_all_but(after)
    assert [is_open(fd) for fd in (first, other, second)] == [True, True, False]
    after.close_all_but()
    assert not any(is_open(fd) for fd in (first, other, *after.fds))


def test_if_one_cannot_be_bound_none_is_left_open_that_was_not() -> None:
    before = Sockets([ANY])
    highest = os.dup(0)
    os.close(highest)
    with pytest.raises(StartError, match="no interface"):
        before.changed_to([ANY, OTHER, ("192.0.2.1", 25)])
    assert not is_open(highest)
    assert all(is_open(fd) for fd in before.fds)
    before.close_all_but()
