"""A domain's first route makes its lane, and the lane's name finds it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgerelay.mail.address import Mailbox
from edgerelay.relay.routing import LaneSpec, Router
from edgerelay.relay.settings import HopKind, HopTls, NextHop, RelaySettings, RouteSettings

ONE = NextHop(HopKind.SMTP, "10.0.0.5", 25)
TWO = NextHop(HopKind.SMTP, "10.0.0.6", 25)
MX = NextHop(HopKind.MX)
MX_OF = NextHop(HopKind.MX, "mx.example")
DIRECTORY = NextHop(HopKind.MAILDIR, path=Path("/var/mail/{domain}/{local_part}"))


def route(*domains: str, hops: tuple[NextHop, ...] = (ONE,), **more: object) -> RouteSettings:
    return RouteSettings(domains, hops, **more)  # type: ignore[arg-type]  # a test's shorthand


def router(*routes: RouteSettings) -> Router:
    return Router(RelaySettings("relay.example", routes=routes))


def lane(of: Router, address: str, *, anywhere: bool = False) -> LaneSpec | None:
    return of.lane_of(Mailbox.from_text(address), anywhere=anywhere)


def name(of: Router, address: str, *, anywhere: bool = False) -> str | None:
    found = lane(of, address, anywhere=anywhere)
    return None if found is None else found.name


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("u@example.com", "smtp://10.0.0.5:25"),
        ("u@EXAMPLE.com", "smtp://10.0.0.5:25"),
        # ".example.com" is its subdomains, at any depth, and not itself ...
        ("u@a.example.com", "smtp://10.0.0.6:25"),
        ("u@a.b.example.com", "smtp://10.0.0.6:25"),
        # ... nor what only ends in the same letters.
        ("u@badexample.com", None),
        ("u@com", None),
        ("u@example.com.evil.example", None),
        # Domains are the same if their A-labels are.
        ("u@müller.example", "smtp://10.0.0.5:25"),
        ("u@MÜLLER.example", "smtp://10.0.0.5:25"),
        ("u@xn--mller-kva.example", "smtp://10.0.0.5:25"),
        # A domain literal is a domain like any other.
        ("u@[192.0.2.1]", "smtp://10.0.0.6:25"),
        ("u@[IPv6:2001:DB8::1]", "smtp://10.0.0.6:25"),
        ("u@[192.0.2.2]", None),
    ],
)
def test_which_route_takes_a_domain(address: str, expected: str | None) -> None:
    routes = router(
        route("example.com", "xn--mller-kva.example"),
        route(".example.com", "[192.0.2.1]", "[ipv6:2001:db8::1]", hops=(TWO,)),
    )
    assert name(routes, address) == expected


def test_the_first_match_wins_not_the_most_exact_one() -> None:
    assert name(router(route("*"), route("example.com", hops=(TWO,))), "u@example.com") == str(ONE)
    assert name(router(route("example.com", hops=(TWO,)), route("*")), "u@example.com") == str(TWO)
    nested = router(route(".example.com"), route(".b.example.com", hops=(TWO,)))
    assert name(nested, "u@a.b.example.com") == str(ONE)


def test_who_may_relay_anywhere_reaches_the_mx_of_unlisted_domains() -> None:
    routes = router(route("example.com"))
    assert lane(routes, "u@elsewhere.example") is None
    found = lane(routes, "u@Elsewhere.example", anywhere=True)
    assert found == LaneSpec("mx:elsewhere.example", (MX,), domain="elsewhere.example")
    assert name(routes, "u@example.com", anywhere=True) == str(ONE)


def test_a_lane_is_its_hops_in_order() -> None:
    routes = router(route("a.example", hops=(ONE, TWO)), route("b.example", hops=(TWO, ONE)))
    assert name(routes, "u@a.example") == "smtp://10.0.0.5:25,smtp://10.0.0.6:25"
    assert name(routes, "u@b.example") == "smtp://10.0.0.6:25,smtp://10.0.0.5:25"
    directory = router(route("*", hops=(DIRECTORY,)))
    assert name(directory, "u@a.example") == "maildir:///var/mail/{domain}/{local_part}"


def test_other_tls_rules_are_another_lane() -> None:
    routes = router(route("a.example"), route("b.example", tls=HopTls.VERIFY))
    assert name(routes, "u@b.example") == "smtp://10.0.0.5:25 tls=verify"
    found = routes.lane_named("smtp://10.0.0.5:25 tls=verify")
    assert found is not None
    assert found.tls is HopTls.VERIFY


def test_mx_is_a_lane_for_each_domain_and_mx_of_a_domain_is_one() -> None:
    routes = router(route("a.example", "b.example", hops=(MX, ONE)), route("*", hops=(MX_OF,)))
    assert name(routes, "u@a.example") == "mx:a.example,smtp://10.0.0.5:25"
    assert name(routes, "u@b.example") == "mx:b.example,smtp://10.0.0.5:25"
    assert lane(routes, "u@c.example") == lane(routes, "u@d.example")
    assert name(routes, "u@c.example") == "mx:mx.example"


@pytest.mark.parametrize(
    "address",
    ["u@a.example", "u@b.example", "u@c.example", "u@elsewhere.example", "u@[192.0.2.1]"],
)
def test_a_stored_name_finds_its_lane_again(address: str) -> None:
    routes = router(
        route("a.example", hops=(ONE, TWO)),
        route("b.example", hops=(MX, ONE), tls=HopTls.REQUIRED),
        route("c.example", hops=(MX_OF,)),
    )
    found = lane(routes, address, anywhere=True)
    assert found is not None
    assert routes.lane_named(found.name) == found


@pytest.mark.parametrize(
    ("hops", "domain"),
    [((MX_OF, MX), "a.example"), ((MX,), "[x:a,b]"), ((ONE, MX, MX_OF, MX), "[x:mx:a,mx:b]")],
)
def test_a_lane_after_a_fixed_exchanger_and_one_of_a_literal_are_found_again(
    hops: tuple[NextHop, ...], domain: str
) -> None:
    routes = router(route("*", hops=hops))
    found = lane(routes, f"u@{domain}")
    assert found is not None
    assert routes.lane_named(found.name) == found


@pytest.mark.parametrize(
    "stale",
    ["", "smtp://10.9.9.9:25", "mx:a.example", "mx:b.example tls=verify", "mx:", "nonsense"],
)
def test_a_name_that_no_route_makes_now_finds_nothing(stale: str) -> None:
    assert router(route("a.example"), route("b.example", hops=(MX,))).lane_named(stale) is None


def test_two_routes_of_one_lane_keep_their_own_recipients() -> None:
    routes = router(route("a.example", recipients="any"), route("b.example"))
    first, second = lane(routes, "u@a.example"), lane(routes, "u@b.example")
    assert first is not None
    assert second is not None
    assert first.name == second.name
    assert first.route is not None
    assert second.route is not None
    assert (first.route.recipients, second.route.recipients) == ("any", "callout")


@pytest.mark.parametrize(
    "hops",
    [
        ["smtp://10.0.0.9:25"],
        ["lmtp://[2001:db8::1]:24", "smtps://mx.example:465"],
        ["lmtp+unix:///run/dovecot/lmtp"],
        ["mx:example.com"],
    ],
)
def test_a_policy_may_choose_a_lane_and_its_name_finds_it_again(hops: list[str]) -> None:
    chosen = router().lane_to(hops)
    assert chosen is not None
    assert [str(hop) for hop in chosen.hops] == hops
    assert router().lane_named(chosen.name) == chosen


@pytest.mark.parametrize(
    "hops",
    [
        [],
        ["mx"],
        ["smtp://10.0.0.9"],
        ["smtp://:25"],
        ["smtp://a:99999"],
        ["http://a:25"],
        ["maildir://relative"],
        ["maildir:///var/../etc"],
        ["smtp://a:25,smtp://b:25"],
        ["smtp://a b:25"],
        ["nonsense"],
    ],
)
def test_what_is_no_next_hop_makes_no_lane(hops: list[str]) -> None:
    assert router().lane_to(hops) is None
