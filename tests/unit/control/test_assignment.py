"""A worker gets exactly what its supervisor meant, networks, paths and secrets included."""

from __future__ import annotations

import pickle
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from edgerelay.control.assignment import Assignment
from edgerelay.edge.settings import EdgeSettings, ListenerSettings, ListenerTls
from edgerelay.net.key_pairs import KeyPair, TlsFiles
from edgerelay.pipeline.settings import Mode, OnError, PolicySettings
from edgerelay.relay.settings import HopKind, NextHop, RelaySettings, RouteSettings

ASSIGNMENT = Assignment(
    worker=1,
    state_dir=Path("state"),
    shard="1",
    edge=EdgeSettings("mx.example.com", relay_from=(ip_network("2001:db8::/32"),)),
    relay=RelaySettings(
        "mx.example.com",
        routes=(
            RouteSettings(
                ("example.com",), (NextHop(HopKind.MAILDIR, path=Path("mail")),), Path("list")
            ),
        ),
    ),
    listeners=(ListenerSettings("127.0.0.1:25", ListenerTls.STARTTLS),),
    listener_fds=(7,),
    tls_files=TlsFiles((KeyPair(b"chain", b"key"),)),
    dns_servers=(("127.0.0.1", 5300),),
    dns_timeout=5.0,
    min_free_space=1 << 30,
    drain=30.0,
    tables_backend="memory",
    policies=(
        PolicySettings("spf", "spf-2", Mode.OBSERVE, 1.0, OnError.CONTINUE, options={"a": [1]}),
    ),
)


def test_what_is_sent_is_what_arrives() -> None:
    assert Assignment.from_octets(ASSIGNMENT.to_octets()) == ASSIGNMENT


def test_two_workers_are_told_different_things() -> None:
    other = replace(ASSIGNMENT, worker=2, shard="2")

    assert Assignment.from_octets(other.to_octets()) != ASSIGNMENT


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="expected an Assignment, not dict"):
        Assignment.from_octets(pickle.dumps({"worker": 1}))
