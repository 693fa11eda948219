"""Replaying gives what asking in order gives, and nothing that strangers write breaks it."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
import spf as pyspf
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerelay.mail.address import Mailbox
from edgerelay.policy import CONTINUE, Defer, Mx, Reject
from edgerelay.testing.literal_dns import Fault, LiteralResolver, Zone
from edgerelay_policies.spf import SpfOptions
from edgerelay_policies.spf.checking import Checker
from edgerelay_policies.spf.evaluation import Identity
from tests.policies.spf_support import mail, spf

NAMES = ("a.test", "b.test", "c.a.test", "d.test", "mx.sender.test")
CLIENTS = ("192.0.2.1", "198.51.100.7", "2001:db8::1")
MACROS = ("%{d}", "%{d1}.test", "%{ir}.%{v}.a.test", "%{l}.a.test", "%{h}", "%{o}", "%{L}", "%{p}")

domains = st.sampled_from((*NAMES, *NAMES, "nowhere.test", *MACROS[:-1]))
asking = st.builds(
    "{}{}:{}".format,
    st.sampled_from(("", "-", "?")),
    st.sampled_from(("a", "mx", "include", "include", "exists")),
    domains,
)
short = st.sampled_from(
    ("a", "mx", "?mx/24", "a//64", "-ip4:198.51.100.0/24", "ip6:2001:db8::/64")
)
modifiers = st.builds("{}={}".format, st.sampled_from(("redirect", "exp", "unknown")), domains)
ends = st.sampled_from(("-all", "~all", "?all", "exp=d.test -all", "redirect=b.test", "", "odd"))
records = st.tuples(
    st.lists(asking, min_size=1, max_size=4),
    st.lists(st.one_of(short, modifiers), max_size=2),
    ends,
).map(lambda parts: (" ".join(("v=spf1", *parts[0], *parts[1], parts[2])).encode(),))
#: Now and then nothing, or no answer.
texts = st.tuples(st.integers(0, 15), records).map(
    lambda drawn: {14: [], 15: Fault.SERVFAIL}.get(drawn[0], [drawn[1]])
)
hosts = st.lists(st.sampled_from(NAMES), max_size=3, unique=True).map(
    lambda names: [Mx(10 * number, name) for number, name in enumerate(names)]
)


def some(*addresses: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(addresses), max_size=1)


#: Of each name: what it says, and its addresses and hosts, if any.
zones = st.fixed_dictionaries(
    {
        (name, rdtype): records
        for name in NAMES
        for rdtype, records in (
            ("TXT", texts),
            ("A", some(*CLIENTS[:2])),
            ("AAAA", some(*CLIENTS[2:])),
            ("MX", hosts),
        )
    }
)


@contextmanager
def asking_in_order(zone: Zone) -> Iterator[None]:
    """pyspf as it is, with a resolver that answers at once."""
    literal = LiteralResolver(zone)

    def look_up(
        name: str, rdtype: str, strict: object, timeout: object
    ) -> Iterable[tuple[tuple[str, str], object]]:
        _, found = literal.look_up(name, rdtype)
        if isinstance(found, Fault):
            raise pyspf.TempError("no answer")
        for record in found or ():
            value = (record.preference, record.host) if isinstance(record, Mx) else record
            yield (name, rdtype), value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyspf, "DNSLookup", look_up)
        yield


@given(zones, st.sampled_from(CLIENTS), st.sampled_from(NAMES))
@settings(max_examples=400, deadline=None)
def test_replaying_is_asking_in_order(zone: Zone, client: str, domain: str) -> None:
    with asking_in_order(zone):
        reference = pyspf.query(client, f"joe@{domain}", "mx.sender.test")
        reference.t = "1700000000"
        expected, _, explanation = reference.check()

    async def check() -> None:
        checker = Checker(LiteralResolver(zone), "unknown")
        identity = Identity("joe", domain, "mx.sender.test")
        [found] = await checker.check(ip_address(client), [identity], 1_700_000_000)
        assert found.outcome.value == expected
        if expected == "fail" and explanation != "SPF fail - not authorized":
            assert found.explanation == str(explanation).strip()[:250].rstrip()

    trio.run(check)


hostile = st.one_of(
    st.text(max_size=80),
    st.text(string.printable, max_size=80),
    st.text('v=spf1 a:/.%{}dslirp-+~?0123456789@\\"', max_size=120),
    st.builds("v=spf1 {}".format, st.text(string.printable, max_size=80)),
    st.builds(
        "v=spf1 {} exp=b.test".format, st.sampled_from((*MACROS, "-all", "redirect=a.test"))
    ),
)
hostile_names = st.one_of(st.sampled_from(NAMES), st.text(max_size=70), hostile)


@given(
    texts=st.lists(hostile, min_size=1, max_size=3),
    explanation=hostile,
    ptrs=st.lists(st.one_of(st.sampled_from(NAMES), hostile), max_size=3),
    sender=st.one_of(st.none(), st.builds(Mailbox, hostile, hostile_names)),
    helo=hostile_names,
    client=st.sampled_from(CLIENTS),
)
@settings(max_examples=600, deadline=None)
def test_nothing_escapes_and_every_reply_is_clean(
    texts: list[str],
    explanation: str,
    ptrs: list[str],
    sender: Mailbox | None,
    helo: str,
    client: str,
) -> None:
    def octets(text: str) -> tuple[bytes, ...]:
        return (text.encode("utf-8", "surrogatepass"),)

    zone: dict[tuple[str, str], list[object]] = {
        ("a.test", "TXT"): [octets(text) for text in texts],
        ("b.test", "TXT"): [octets(explanation)],
        ("mx.sender.test", "TXT"): [octets(texts[0])],
        ("1.2.0.192.in-addr.arpa", "PTR"): list(ptrs),
        ("a.test", "MX"): [Mx(number, name) for number, name in enumerate(ptrs)],
        ("a.test", "A"): ["192.0.2.1"],
    }
    policy = spf(
        LiteralResolver(zone),  # type: ignore[arg-type]  # records of one type each
        SpfOptions(on_softfail="reject", on_permerror="reject", skip_trusted=False),
    )
    for asked in sender, Mailbox("joe", "a.test"), None:
        verdict, result = trio.run(mail, policy, client, asked, helo)
        assert len(result.checks) == 2
        for found in result.checks:
            assert found.reason.isascii()
            assert found.reason == "" or found.reason.isprintable()
            assert len(found.reason) <= 120
        if verdict is not CONTINUE:
            assert isinstance(verdict, Defer | Reject)
            assert verdict.reply.more == ()
            assert verdict.reply.text.isascii()
            assert verdict.reply.text.isprintable()
            assert len(verdict.reply.octets) <= 470  # of 512, for the token that follows
