"""From a hop to addresses: in order, without ourselves, and never more than is sensible."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgerelay.dns.answer import Mx
from edgerelay.relay.finding import Address, Finder, Found, NotFound
from edgerelay.relay.settings import HopKind, NextHop
from edgerelay.testing.literal_dns import Fault, LiteralResolver, Zone

OWN_MX = NextHop(HopKind.MX)

ZONE: Zone = {
    ("two.example", "MX"): [Mx(20, "mx2.two.example"), Mx(10, "mx1.two.example")],
    ("mx1.two.example", "A"): ["192.0.2.1"],
    ("mx1.two.example", "AAAA"): ["2001:db8::1"],
    ("mx2.two.example", "A"): ["192.0.2.2"],
    ("equal.example", "MX"): [Mx(10, "mx1.two.example"), Mx(10, "mx2.two.example")],
    ("implicit.example", "A"): ["192.0.2.3"],
    ("null.example", "MX"): [Mx(0, "")],
    ("nobody.example", "TXT"): [(b"no mail here",)],
    ("dangling.example", "MX"): [Mx(10, "gone.example")],
    ("silent.example", "MX"): Fault.SERVFAIL,
    ("half.example", "MX"): [Mx(10, "broken.example"), Mx(20, "mx2.two.example")],
    ("broken.example", "A"): Fault.SERVFAIL,
    ("unsure.example", "MX"): [Mx(10, "broken.example")],
    ("backup.example", "MX"): [
        Mx(10, "mx1.two.example"),
        Mx(20, "Relay.Example"),
        Mx(30, "mx2.two.example"),
    ],
    ("loop.example", "MX"): [Mx(10, "relay.example"), Mx(20, "mx2.two.example")],
    ("hidden.example", "MX"): [Mx(10, "us.example"), Mx(10, "mx1.two.example")],
    ("hidden2.example", "MX"): [Mx(5, "mx1.two.example"), Mx(10, "us.example")],
    ("us.example", "A"): ["198.51.100.1"],
    ("zero.example", "MX"): [Mx(10, "zero.zero.example")],
    ("zero.zero.example", "A"): ["0.0.0.0", "224.0.0.1"],  # noqa: S104 - a hostile record
    ("many.example", "MX"): [Mx(n, f"mx{n}.many.example") for n in range(100)],
    **{(f"mx{n}.many.example", "A"): [f"192.0.2.{n}"] for n in range(100)},
    ("wide.example", "A"): [f"192.0.2.{n}" for n in range(250)],
    ("store.example", "A"): ["10.0.0.5"],
}


def finder(
    zone: Zone = ZONE, *, hosts: dict[str, list[str]] | None = None
) -> tuple[Finder, LiteralResolver]:
    resolver = LiteralResolver(zone)

    async def look_up(name: str) -> Sequence[str]:
        return (hosts or {}).get(name, ())

    found = Finder(
        resolver,
        "relay.example",
        own_addresses={"198.51.100.1"},
        shuffle=lambda mxs: mxs.reverse(),
        hosts=look_up,
    )
    return found, resolver


async def ips(hop: NextHop, domain: str = "") -> list[str]:
    found = await finder()[0].find(hop, domain)
    assert isinstance(found, Found), found
    return [address.ip for address in found.addresses]


async def refusal(hop: NextHop, domain: str = "") -> str:
    found = await finder()[0].find(hop, domain)
    assert isinstance(found, NotFound), found
    return f"{found.reply.code} {found.reply.enhanced}"


async def test_exchangers_come_by_preference_with_both_kinds_of_address() -> None:
    found = await finder()[0].find(OWN_MX, "two.example")
    assert found == Found(
        (
            Address("192.0.2.1", 25, "mx1.two.example"),
            Address("2001:db8::1", 25, "mx1.two.example"),
            Address("192.0.2.2", 25, "mx2.two.example"),
        )
    )


async def test_equals_are_shuffled() -> None:
    assert (await ips(OWN_MX, "equal.example"))[0] == "192.0.2.2"


async def test_a_domain_without_mx_is_its_own_exchanger() -> None:
    assert await ips(OWN_MX, "implicit.example") == ["192.0.2.3"]


async def test_a_domain_literal_is_its_own_exchanger() -> None:
    assert await ips(OWN_MX, "[192.0.2.9]") == ["192.0.2.9"]
    assert await ips(OWN_MX, "[ipv6:2001:db8::9]") == ["2001:db8::9"]
    assert await refusal(OWN_MX, "[198.51.100.1]") == "554 5.4.6"


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("null.example", "556 5.1.10"),
        ("nowhere.example", "550 5.1.2"),
        ("no..name", "550 5.1.2"),
        ("nobody.example", "550 5.4.4"),
        ("dangling.example", "550 5.4.4"),
        ("zero.example", "550 5.4.4"),
        ("silent.example", "451 4.4.3"),
        ("unsure.example", "451 4.4.3"),
        ("loop.example", "554 5.4.6"),
        ("hidden.example", "554 5.4.6"),
    ],
)
async def test_why_there_is_nowhere_to_go(domain: str, expected: str) -> None:
    assert await refusal(OWN_MX, domain) == expected


async def test_we_and_whoever_is_no_better_are_left_out() -> None:
    assert await ips(OWN_MX, "backup.example") == ["192.0.2.1", "2001:db8::1"]
    # Known by address, where the name is another one.
    assert await ips(OWN_MX, "hidden2.example") == ["192.0.2.1", "2001:db8::1"]


async def test_an_exchanger_without_an_answer_does_not_hide_the_others() -> None:
    assert await ips(OWN_MX, "half.example") == ["192.0.2.2"]


async def test_a_zone_of_hundreds_costs_a_few_questions() -> None:
    found, resolver = finder()
    many = await found.find(OWN_MX, "many.example")
    assert isinstance(many, Found)
    assert [address.name for address in many.addresses] == [
        f"mx{n}.many.example" for n in range(10)
    ]
    assert len(resolver.asked) == 21
    assert len(await ips(OWN_MX, "wide.example")) == 20


async def test_a_configured_host_is_a_literal_a_hosts_entry_or_a_name() -> None:
    assert await ips(NextHop(HopKind.SMTP, "10.0.0.9", 2525)) == ["10.0.0.9"]
    assert await ips(NextHop(HopKind.LMTP, "::1", 24)) == ["::1"]
    assert await ips(NextHop(HopKind.LMTP, "LOCALHOST", 24)) == ["127.0.0.1", "::1"]
    assert await ips(NextHop(HopKind.SMTPS, "Store.example", 465)) == ["10.0.0.5"]
    found, resolver = finder(hosts={"store": ["10.1.1.1"]})
    named = await found.find(NextHop(HopKind.SMTP, "store", 2525), "")
    assert named == Found((Address("10.1.1.1", 2525, "store"),))
    assert resolver.asked == []
    # A stranger's domain never means a name of this machine.
    assert isinstance(await found.find(OWN_MX, "store"), NotFound)


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        (NextHop(HopKind.SMTP, "typo.example", 25), "451 4.4.4"),
        (NextHop(HopKind.SMTP, "broken.example", 25), "451 4.4.3"),
        (NextHop(HopKind.MX, "null.example"), "451 4.4.4"),
        (NextHop(HopKind.MX, "nowhere.example"), "451 4.4.4"),
    ],
)
async def test_what_a_configured_hop_lacks_is_never_final(hop: NextHop, expected: str) -> None:
    assert await refusal(hop) == expected


async def test_mx_of_a_named_domain() -> None:
    assert (await ips(NextHop(HopKind.MX, "Two.example")))[0] == "192.0.2.1"


def test_an_address_is_written_as_an_endpoint() -> None:
    assert str(Address("192.0.2.1", 25, "x")) == "192.0.2.1:25"
    assert str(Address("2001:db8::1", 25, "x")) == "[2001:db8::1]:25"
