"""Access lists: who is let in, who is kept out, and what wins."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.mail.envelope import Envelope
from edgerelay.pipeline.loading import problems, read_options
from edgerelay.pipeline.settings import PolicySettings
from edgerelay.policy import (
    ACCEPT,
    CONTINUE,
    Connection,
    ForwardPath,
    Mailbox,
    MailTransaction,
    ReversePath,
    Session,
    Verdict,
)
from edgerelay_policies.access import NO_CLIENT, NO_RECIPIENT, NO_SENDER, Access
from tests.policies.services import Given, LentServices


def access(**options: Any) -> Access:
    return Access(read_options(Access, options), LentServices())


async def client(policy: Access, address: str | None) -> Verdict:
    session = Session(None if address is None else ip_address(address), "T")
    return await policy.on_connect(Connection(Given(), session))


def transaction(sender: str | None) -> MailTransaction:
    path = NULL_REVERSE_PATH if sender is None else ReversePath(Mailbox.from_text(sender))
    return MailTransaction(Given(), Session(None, "T"), Envelope(path), ())


async def test_clients_by_network() -> None:
    policy = access(
        allow_clients=["192.0.2.128/25", "2001:db8::/32"],
        deny_clients=["192.0.2.0/24", "198.51.100.7", "::/0"],
    )
    assert await client(policy, "192.0.2.200") == ACCEPT
    assert await client(policy, "192.0.2.1") == NO_CLIENT
    assert await client(policy, "198.51.100.7") == NO_CLIENT
    assert await client(policy, "198.51.100.8") == CONTINUE
    assert await client(policy, "2001:db8::1") == ACCEPT
    assert await client(policy, "2001:db9::1") == NO_CLIENT
    assert await client(policy, None) == CONTINUE


@pytest.mark.parametrize(
    ("sender", "verdict"),
    [
        ("friend@bad.example", ACCEPT),
        ("FRIEND@Bad.Example", ACCEPT),
        ("other@bad.example", NO_SENDER),
        ("any@sub.worse.example", NO_SENDER),
        ("any@worse.example", CONTINUE),
        ("any@xworse.example", CONTINUE),
        ("any@bücher.example", NO_SENDER),
        ("any@xn--bcher-kva.example", NO_SENDER),
        ("any@nice.example", CONTINUE),
        (None, CONTINUE),
    ],
)
async def test_senders_by_address(sender: str | None, verdict: Verdict) -> None:
    policy = access(
        allow_senders=["friend@bad.example"],
        deny_senders=["@bad.example", ".worse.example", "bücher.example"],
    )
    assert await policy.on_mail(transaction(sender)) == verdict


async def test_recipients_by_address() -> None:
    policy = access(deny_recipients=["left@example.org", ".intern.example.org"])
    asked = transaction("a@b.example")
    for to, verdict in (
        ("LEFT@example.org", NO_RECIPIENT),
        ("here@example.org", CONTINUE),
        ("x@a.intern.example.org", NO_RECIPIENT),
    ):
        assert await policy.on_rcpt(asked, ForwardPath(Mailbox.from_text(to))) == verdict


@pytest.mark.parametrize("entry", ["", "@", "a@", "a b@c.example", "no spaces.example", "a@-x", 7])
def test_a_wrong_entry_is_named(entry: object) -> None:
    settings = PolicySettings("access", "access", options={"deny_senders": ["ok.example", entry]})
    (problem,) = problems([settings])
    assert problem.key == ("deny_senders", 1)
    assert problem.text.startswith('expected "user@example.com"')
