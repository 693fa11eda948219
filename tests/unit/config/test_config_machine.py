"""What the machine says of itself."""

from __future__ import annotations

import socket

import pytest

from edgerelay.config import machine


def test_a_name_with_a_dot_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "MX.Example.com")
    assert machine.machine_hostname() == "mx.example.com"


def test_a_name_that_is_no_domain_becomes_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "not.a domain")
    assert machine.machine_hostname() == "localhost"


def test_dead_dns_leaves_the_short_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no DNS")

    monkeypatch.setattr(socket, "gethostname", lambda: "mx")
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert machine.machine_hostname() == "mx"


def test_there_is_a_core() -> None:
    assert machine.usable_cores() >= 1
