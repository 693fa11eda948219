"""The command line's end: real sockets, real time, never a hang."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgerelay.control.client import NoAnswer, NotRunning, ask, control_socket
from edgerelay.control.frames import encode
from edgerelay.control.messages import Failure, Heartbeat, Message, QueueListing, StatusRequest


@contextmanager
def relay(path: Path, talk: Callable[[socket.socket], None]) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            accepted, _ = listening.accept()
            with accepted:
                accepted.recv(1 << 16)
                talk(accepted)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def saying(message: Message) -> Callable[[socket.socket], None]:
    return lambda sock: sock.sendall(encode(message))


def test_the_answer_comes_back(tmp_path: Path) -> None:
    path = control_socket(tmp_path)
    with relay(path, saying(QueueListing(entries=()))):
        assert ask(path, StatusRequest(), 5) == QueueListing(entries=())


def test_no_socket_is_no_relay(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="no relay is running on"):
        ask(control_socket(tmp_path), StatusRequest(), 5)
    with pytest.raises(NotRunning):
        ask(control_socket(tmp_path / "missing"), StatusRequest(), 5)


def test_a_socket_that_was_left_behind_is_no_relay(tmp_path: Path) -> None:
    path = control_socket(tmp_path)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(NotRunning):
        ask(path, StatusRequest(), 5)


def test_a_failure_is_told_in_its_own_words(tmp_path: Path) -> None:
    path = control_socket(tmp_path)
    with (
        relay(path, saying(Failure(text="the disk is gone"))),
        pytest.raises(NoAnswer, match=r"^the disk is gone$"),
    ):
        ask(path, StatusRequest(), 5)


def test_what_is_no_answer_is_not_taken_for_one(tmp_path: Path) -> None:
    path = control_socket(tmp_path)
    with relay(path, saying(Heartbeat())), pytest.raises(NoAnswer, match="a Heartbeat"):
        ask(path, StatusRequest(), 5)


@pytest.mark.parametrize(
    ("octets", "said"),
    [(b"", "ended within"), (b"\0\0\0\x09x", "ended within"), (b"\xff" * 4, "too long")],
)
def test_a_broken_answer_is_no_answer(tmp_path: Path, octets: bytes, said: str) -> None:
    path = control_socket(tmp_path)
    with (
        relay(path, lambda sock: sock.sendall(octets)),
        pytest.raises(NoAnswer, match=said),
    ):
        ask(path, StatusRequest(), 5)


def test_silence_ends_with_the_timeout(tmp_path: Path) -> None:
    path = control_socket(tmp_path)
    done = threading.Event()

    def be_silent(_: socket.socket) -> None:
        done.wait(5)

    with relay(path, be_silent):
        with pytest.raises(NoAnswer, match="did not answer within"):
            ask(path, StatusRequest(), 0.05)
        done.set()
