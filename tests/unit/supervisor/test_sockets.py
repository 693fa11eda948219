"""A reload binds what is new, keeps what is still wanted, and closes the rest at the end."""

from __future__ import annotations

import os

import pytest

from edgerelay.supervisor.sockets import Sockets
from edgerelay.supervisor.start import StartError, bind

ANY = ("127.0.0.1", 0)
OTHER = ("127.0.0.2", 0)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def fds(sockets: Sockets) -> list[int]:
    return [fd for group in sockets.groups for fd in group]


def test_an_address_that_stays_keeps_its_socket() -> None:
    before = Sockets([ANY, OTHER, ANY])
    first, other, second = fds(before)
    after = before.changed_to([OTHER, ANY, ("127.0.0.3", 0)])
    assert fds(after)[:2] == [other, first]
    assert len(set(after.names)) == 3
    before.close_all_but(after)
    assert [is_open(fd) for fd in (first, other, second)] == [True, True, False]
    last = fds(after)
    after.close_all_but()
    assert not any(is_open(fd) for fd in (first, other, *last))


def test_if_one_cannot_be_bound_none_is_left_open_that_was_not() -> None:
    before = Sockets([ANY])
    highest = os.dup(0)
    os.close(highest)
    with pytest.raises(StartError, match="no interface"):
        before.changed_to([ANY, OTHER, ("192.0.2.1", 25)])
    assert not is_open(highest)
    assert all(is_open(fd) for fd in fds(before))
    before.close_all_but()


def test_passed_sockets_serve_the_listener_of_their_name_and_are_never_closed() -> None:
    passed = [bind("127.0.0.1", 0), bind("::1", 0)]
    sockets = Sockets([ANY, ("fd:smtp", 0)], {"smtp": passed, "other": []})
    assert [len(group) for group in sockets.groups] == [1, 2]
    assert len(sockets.names) == 3
    assert sockets.unused == ["other"]
    fewer = sockets.changed_to([ANY])
    sockets.close_all_but(fewer)
    again = fewer.changed_to([ANY, ("fd:smtp", 0)])  # thought better of
    assert again.groups[1] == tuple(each.fileno() for each in passed)
    again.close_all_but()
    assert all(is_open(each.fileno()) for each in passed)
    for each in passed:
        each.close()


def test_a_name_that_nobody_passed_is_told_with_those_that_are_there() -> None:
    passed = bind("127.0.0.1", 0)
    with passed, pytest.raises(StartError, match=r"fd:stmp; there is fd:smtp"):
        Sockets([("fd:stmp", 0)], {"smtp": [passed]})
    with pytest.raises(StartError, match="there is none at all"):
        Sockets([("fd:smtp", 0)])


def test_a_passed_name_that_two_listeners_have_is_refused() -> None:
    passed = bind("127.0.0.1", 0)
    with passed, pytest.raises(StartError, match="fd:smtp is named twice"):
        Sockets([("fd:smtp", 0), ("fd:smtp", 0)], {"smtp": [passed]})
