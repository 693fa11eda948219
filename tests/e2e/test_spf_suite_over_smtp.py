"""The RFC 7208 suite once more, as mail: its zones on a DNS server, its clients behind a proxy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from itertools import groupby
from typing import Final

import pytest

from edgerelay.testing.dns_server import DnsServer
from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import wait_for
from tests.policies.spf_suite import Case, cases

#: Each result has a reply of its own, or is read from the message.
POLICY: Final = {
    "use": "spf",
    "check_helo": False,
    "on_fail": "reject",
    "on_softfail": "defer",
    "on_temperror": "defer",
    "on_permerror": "reject",
}
RESULTS: Final = {
    "550 5.7.23": "fail",
    "451 4.7.23": "softfail",
    "451 4.7.24": "temperror",
    "550 5.7.24": "permerror",
}
#: Cases whose HELO name or reverse-path is no SMTP: a label of 64 octets, empty labels, no local
#: part, spaces, other odd characters. The command itself is refused, and nobody is asked.
UNSAYABLE: Final = {
    "toolonglabel",
    "emptylabel",
    "nolocalpart",
    "invalid-domain-long-via-macro",
    "dorky-sentinel",
    "invalid-hello-macro",
}


def scenarios() -> Iterator[tuple[str, list[Case]]]:
    for name, members in groupby(cases(), key=lambda case: case.scenario):
        yield name, list(members)


@pytest.mark.parametrize(
    "members", [members for _, members in scenarios()], ids=[name for name, _ in scenarios()]
)
def test_a_scenario_of_the_suite(relay: Callable[..., Edgerelay], members: list[Case]) -> None:
    with DnsServer(members[0].zone) as dns, NextHop() as hop:
        server = relay(
            f"smtp://127.0.0.1:{hop.port}",
            listener={"proxy_protocol_from": ["127.0.0.0/8"]},
            dns={"servers": [f"127.0.0.1:{dns.port}"], "timeout": "1s"},
            policy=[POLICY],
        )
        wrong = [
            f"{case}: {said} instead of {' or '.join(case.results)}"
            for case in members
            if (said := ask(server, hop, case)) not in case.results
        ]
    assert not wrong, "\n".join(wrong)


def ask(server: Edgerelay, hop: NextHop, case: Case) -> str:
    """Send a message as the case says, and return the result, as far as it shows."""
    first = proxy_header(case.client)
    with Client(server.port, helo=None, first=first) as client:
        replies = [client.command(f"EHLO {case.helo}")]
        if replies[-1].code == 250:
            replies.append(client.command(f"MAIL FROM:<{case.mail_from}>"))
        if any(reply.code == 501 for reply in replies):
            assert case.name in UNSAYABLE
            return case.results[0]
        assert case.name not in UNSAYABLE
        assert replies[-1].code == 250, replies[-1]
        refused = client.command("RCPT TO:<b@example.test>")
        if refused.code != 250:
            check_explanation(case, refused.text)
            return RESULTS.get(f"{refused.code} {refused.text.split()[0]}", str(refused))
        assert client.command("DATA").code == 354
        client.write(message(case.name) + b".\r\n")
        assert client.read().code == 250
    return delivered_result(hop, case.name)


def check_explanation(case: Case, text: str) -> None:
    if case.explanation == "DEFAULT":
        assert "it explains" not in text, case
    elif case.explanation:
        assert f"it explains: {case.explanation}" in text, case


def delivered_result(hop: NextHop, name: str) -> str:
    """What Authentication-Results says in the message of that name."""
    subject = f"\r\nSubject: {name}\r\n".encode()
    content = wait_for(
        f"the message {name}",
        lambda: next((m.content for m in hop.confirmed() if subject in m.content), None),
    )
    header = content.partition(b"\r\n\r\n")[0]
    fields = re.sub(rb"\r\n[ \t]+", b" ", header).split(b"\r\n")
    assert fields[0].startswith(b"Authentication-Results: relay.test;")
    [result] = re.findall(rb"\bspf=(\w+)", fields[0])
    return str(result, "ascii")


def proxy_header(client: str) -> bytes:
    """Version 1 for IPv4 and version 2 for IPv6, so that both are used."""
    address = ip_address(client)
    if address.version == 4:
        return f"PROXY TCP4 {address} 203.0.113.1 4711 25\r\n".encode()
    ports = (4711).to_bytes(2, "big") + (25).to_bytes(2, "big")
    addresses = address.packed + ip_address("2001:db8::25").packed + ports
    signature = b"\r\n\r\n\x00\r\nQUIT\n"
    return signature + b"\x21\x21" + len(addresses).to_bytes(2, "big") + addresses
