"""SPF, DKIM and greylisting with Debian's unbound as the resolver, and with none that answers."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgerelay.policy import Mx
from edgerelay.testing.messages import TEST_KEYS, build_message, dkim_records, sign
from tests.e2e.support.client import Client
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.unbound import Unbound, nobody_answers
from tests.e2e.support.waiting import pause

KEY = TEST_KEYS["rsa-2048"]  # its record is longer than 255 octets
ZONE = {
    ("signed.test", "TXT"): [(b"v=spf1 mx include:_spf.signed.test -all",)],
    ("signed.test", "MX"): [Mx(10, "mail.signed.test")],
    ("mail.signed.test", "A"): ["198.51.100.1"],
    ("_spf.signed.test", "TXT"): [(b"v=spf1 ip4:127.0.0.0/8 -all",)],
    ("forged.test", "TXT"): [(b"v=spf1 exp=why.forged.test -all",)],
    ("why.forged.test", "TXT"): [(b"%{i} is none of ours",)],
    **dkim_records("signed.test", "s1", KEY),
}
POLICIES: list[dict[str, Any]] = [{"use": "spf"}, {"use": "dkim"}]


def signed(body: str = "Hello Bob!\n") -> bytes:
    message = build_message(sender="Sue <sue@signed.test>", to="Bob <b@example.test>", body=body)
    return sign(message, "signed.test", "s1", KEY)


def results(content: bytes) -> list[str]:
    """The results of our own Authentication-Results field, one by one."""
    first = re.match(rb"Authentication-Results: (.*?)\r\n(?![ \t])", content, re.S)
    assert first is not None, content[:500]
    return [part.strip() for part in " ".join(first[1].decode().split()).split(";")]


@pytest.fixture
def unbound(workdir: Path) -> Iterator[Unbound]:
    with Unbound(workdir / "unbound", ZONE) as server:
        yield server


def test_what_a_domain_vouches_for_passes(
    relay: Callable[..., Edgerelay], unbound: Unbound
) -> None:
    with NextHop() as hop:
        dns = {"servers": [f"127.0.0.1:{unbound.port}"]}
        server = relay(f"smtp://127.0.0.1:{hop.port}", dns=dns, policy=POLICIES)
        with Client(server.port) as client:
            assert client.send("sue@signed.test", "b@example.test", signed()).code == 250
            tampered = signed().replace(b"Bob!", b"Rob!")
            assert client.send("sue@signed.test", "b@example.test", tampered).code == 250
            forged = client.send("ceo@forged.test", "b@example.test", signed())
        assert str(forged).startswith("550 5.7.23")
        assert "127.0.0.1 is none of ours" in str(forged)
        good, bad = (results(taken.content) for taken in hop.wait_taken(2))
        assert good[0] == "relay.test"
        assert "spf=pass smtp.mailfrom=sue@signed.test" in good
        assert any(each.startswith("dkim=pass header.d=signed.test") for each in good)
        assert any(each.startswith("dkim=fail") for each in bad)


def test_without_dns_the_relay_starts_and_each_policy_answers_as_it_is_told(
    relay: Callable[..., Edgerelay],
) -> None:
    with NextHop() as hop:
        dns = {"servers": [f"127.0.0.1:{nobody_answers()}"], "timeout": "300ms"}
        lenient = [{"use": "spf", "on_temperror": "tag"}, {"use": "dkim"}]
        strict = [{"use": "spf", "on_temperror": "tag"}, {"use": "dkim", "on_temperror": "defer"}]
        replies = []
        for policies in (POLICIES, lenient, strict):
            server = relay(f"smtp://127.0.0.1:{hop.port}", dns=dns, policy=policies)
            with Client(server.port) as client:
                reply = client.send("sue@signed.test", "b@example.test", signed())
                replies.append(" ".join(str(reply).split()[:2]))
        assert replies == ["451 4.7.24", "250 2.0.0", "451 4.7.5"]
        found = results(hop.wait_taken(1)[0].content)
        assert [each.split()[0] for each in found[1:]] == ["spf=temperror"] * 2 + [
            "dkim=temperror"
        ]


def test_a_retry_on_the_other_worker_passes_and_friends_cost_no_write(
    relay: Callable[..., Edgerelay], unbound: Unbound
) -> None:
    with NextHop() as hop:
        server = relay(
            f"smtp://127.0.0.1:{hop.port}",
            workers=2,
            dns={"servers": [f"127.0.0.1:{unbound.port}"]},
            policy=[{"use": "greylisting", "delay": "1s", "auto_allow_after": 5}],
        )
        senders = [f"ann{number}@src.test" for number in range(20)]

        def all_of_them(senders: list[str]) -> list[int]:
            """Each in a session of its own, all of them open at once."""
            clients = [Client(server.port) for _ in senders]
            try:
                return [
                    client.send(sender, "b@example.test", signed()).code
                    for client, sender in zip(clients, senders, strict=True)
                ]
            finally:
                for client in clients:
                    client.close()

        assert all_of_them(senders) == [451] * 20
        assert all_of_them(senders) == [451] * 20
        pause(1.2)
        for _ in range(3):  # by chance each meets the other worker at some time
            assert all_of_them(senders) == [250] * 20
        workers = {event["worker"] for event in server.events() if event["event"] == "session"}
        assert workers == {0, 1}
        pause(0.5)
        before = table(server)
        friends = [f"new{number}@src.test" for number in range(20)]
        for _ in range(3):
            assert all_of_them(friends) == [250] * 20
        assert table(server) == before


def table(server: Edgerelay) -> list[tuple[object, ...]]:
    """Every entry there is, as another process sees it."""
    with sqlite3.connect(f"file:{server.state_dir}/tables.db?mode=ro", uri=True) as database:
        return sorted(database.execute("SELECT name, key, value, expires FROM entries"))
