"""A trial with the policies of `tests.policy_distribution`, for the tests of this directory."""

from __future__ import annotations

from ipaddress import ip_address

from edgerelay.cli.trial import Findings, Trial, attempt
from edgerelay.config import parse
from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.testing.literal_dns import LiteralResolver

TOP = 'hostname = "mx.test"\nworkers = 1\n'
ROUTE = '[[route]]\ndomains = ["example.com"]\nnext_hop = ["smtp://127.0.0.1:1"]\n'
CONTENT = (
    b"From: a@b.test\r\nX-Old: one\r\n two\r\n"
    b"Authentication-Results: mx.test; spf=pass\r\n"
    b"Authentication-Results: other.test; spf=pass\r\n\r\n.hello\r\n"
)


def path(text: str) -> ForwardPath:
    return ForwardPath(Mailbox.from_text(text))


def configuration(*policies: str, also: str = "", top: str = "") -> bytes:
    """Each policy is its name, then further keys a line each."""
    tables = []
    for policy in policies:
        name, *keys = policy.split("\n")
        tables.append("\n".join(["[[policy]]", f'use = "{name}"', *keys, ""]))
    return f"{TOP}{top}{ROUTE}{''.join(tables)}{also}".encode()


async def tried(
    *policies: str,
    to: tuple[str, ...] = ("x@example.com",),
    content: bytes = CONTENT,
    also: str = "",
) -> Findings:
    trial = Trial(
        ip_address("192.0.2.1"),
        "h.test",
        ReversePath(Mailbox.from_text("a@b.test")),
        tuple(map(path, to)),
        content,
    )
    found = await attempt(
        parse(configuration(*policies, also=also), "e.toml"),
        trial,
        clock=lambda: 1000.0,
        upstream=LiteralResolver({}),
    )
    assert isinstance(found, Findings)
    return found
