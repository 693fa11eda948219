"""What fails before a start says what the operator can change, and starts nothing."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from edgerelay.supervisor import start
from edgerelay.supervisor.start import StartError, bind, bound_name, drop_privileges, lock_state


def test_a_state_directory_serves_one_relay_at_a_time(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    lock = lock_state(state_dir)

    with pytest.raises(StartError, match="another edgerelay is running on"):
        lock_state(state_dir)

    os.close(lock)
    os.close(lock_state(state_dir))


def test_a_state_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    os.close(lock_state(tmp_path / "state"))

    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_a_state_directory_that_cannot_be_made_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StartError, match=r"state_dir: cannot use .*file/state"):
        lock_state(tmp_path / "file" / "state")


def test_a_port_in_use_is_said_so() -> None:
    with bind("127.0.0.1", 0) as first:
        host, port = first.getsockname()

        with pytest.raises(StartError, match=f"127.0.0.1:{port}: another program is listening"):
            bind(host, port)


def test_port_0_becomes_a_real_one() -> None:
    with bind("127.0.0.1", 0) as listening:
        assert bound_name(listening) == f"127.0.0.1:{listening.getsockname()[1]}"


def test_an_ipv6_listener_leaves_ipv4_to_others() -> None:
    with bind("::1", 0) as listening:
        assert listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        assert bound_name(listening).startswith("[::1]:")


def test_an_address_of_another_machine_is_said_so() -> None:
    with pytest.raises(StartError, match="no interface of this machine has that address"):
        bind("192.0.2.1", 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_a_named_user_must_exist(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no user 'no-such-user'"):
        drop_privileges("no-such-user", explicit=True, state_dir=tmp_path)

    warning = drop_privileges("no-such-user", explicit=False, state_dir=tmp_path)
    assert warning == "running as root: this machine has no user 'no-such-user'"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_second_name_of_a_file_elsewhere_is_not_given_away(tmp_path: Path) -> None:
    state_dir, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    state_dir.mkdir()
    elsewhere.write_text("root's")
    (state_dir / "link").hardlink_to(elsewhere)
    (state_dir / "own").write_text("ours")

    start.give(state_dir, pwd.getpwnam("nobody"))

    assert elsewhere.stat().st_uid == 0
    assert (state_dir / "own").stat().st_uid == pwd.getpwnam("nobody").pw_uid
