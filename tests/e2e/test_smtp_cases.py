"""Every case in tests/e2e/cases, held with a real listener and a next hop that remembers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.cases import (
    Conversation,
    all_cases,
    check_delivered,
    check_violations,
    keywords_of,
)
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.tls import issue
from tests.e2e.support.waiting import wait_for

#: Cases where we differ on purpose, each with the sentence of the RFC; two at most.
CONTESTED: dict[str, str] = {}
LISTENERS = ("plain", "proxy", "xclient", "binary", "late")
_numbers = count(1)


@dataclass
class Lab:
    relay: Edgerelay
    hop: NextHop
    ports: dict[str, int]
    keywords: dict[str, set[str]]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    directory = Path(tempfile.mkdtemp(prefix="er-", dir="/tmp"))
    (directory / "recipients").write_text("user@local.test\npostmaster@local.test\n")
    hop = NextHop()
    config = relay_config(
        directory / "relay",
        f"smtp://127.0.0.1:{hop.port}",
        route={"domains": ["local.test"], "recipients": f"file:{directory / 'recipients'}"},
        limits={"message_size": 1_000_000},
        tls=issue(directory, "mx.edge.test"),
        hostname="mx.edge.test",
        postmaster="postmaster@local.test",
    )
    loopback = ["127.0.0.0/8"]
    plain = {"address": "127.0.0.1:0", "tls": "starttls"}
    config["listener"] = [
        plain,
        {**plain, "proxy_protocol_from": loopback},
        {**plain, "xclient_from": loopback},
        {**plain, "binarymime": True},
        {**plain, "greet_delay": "1s"},
    ]
    try:
        with hop, Edgerelay(directory / "relay", config) as relay:
            ports = dict(zip(LISTENERS, relay.ports, strict=True))
            first = {"proxy": b"PROXY UNKNOWN\r\n"}
            offered = {
                name: keywords_of(port, first.get(name, b"")) for name, port in ports.items()
            }
            yield Lab(relay, hop, ports, offered)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def is_at_rest(relay: Edgerelay) -> bool:
    (worker,) = relay.json("status")["workers"]
    return not worker["queue"]["queued"] and not worker["gauges"]["sessions"]


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case["name"])
def test_case(lab: Lab, case: dict[str, Any]) -> None:
    listener = case.get("listener", "plain")
    if "BINARYMIME" in case.get("needs", ()):
        listener = "binary"
    if case.get("greet_delay"):
        listener = "late"
    offered = lab.keywords[listener]
    missing = set(case.get("needs", ())) - offered
    if missing or set(case.get("unless", ())) & offered:
        pytest.skip(f"for listeners with {missing or 'less'}")
    if case["name"] in CONTESTED:
        pytest.skip(CONTESTED[case["name"]])
    token = f"token{next(_numbers)}x"
    taken, commands = len(lab.hop.taken), len(lab.hop.commands)
    conversation = Conversation(lab.ports[listener], token)
    try:
        conversation.hold(case["steps"])
    finally:
        conversation.close()
    forbidden = case.get("forbid_next_hop_violations")
    if "delivered" in case or forbidden:
        wait_for("the relay at rest", lambda: is_at_rest(lab.relay), 10)
        # The message of a case before, which did not wait for it, may come only now.
        arrived = [each for each in lab.hop.taken[taken:] if token.encode() in each.content]
        check_delivered(case.get("delivered", {}), arrived, token)
        if forbidden:
            long_lines = forbidden is not True or case.get("max_line") == 998
            check_violations(lab.hop, commands, arrived, long_lines=long_lines)
