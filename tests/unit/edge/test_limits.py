"""How many connections a client may hold, and how fast it may make them."""

from __future__ import annotations

from edgerelay.edge.limits import Admission, ClientLimits, Prefixes, prefixes_of
from edgerelay.edge.settings import EdgeSettings
from edgerelay.net.endpoint import canonical


def limits(connections: int = 2, rate: tuple[int, float] | None = None) -> ClientLimits:
    """Of clients; networks are not limited."""
    return ClientLimits(
        EdgeSettings(
            "h",
            connections_per_client=connections,
            rate_per_client=rate,
            connections_per_network=100_000,
            rate_per_network=None,
        )
    )


def of(client: str) -> Prefixes:
    return Prefixes(f"{client}/32", f"{client}/24")


def test_a_client_is_an_address_or_a_network_of_ipv6() -> None:
    assert prefixes_of(canonical("192.0.2.1")) == ("192.0.2.1/32", "192.0.2.0/24")
    assert prefixes_of(canonical("::ffff:192.0.2.1")) == ("192.0.2.1/32", "192.0.2.0/24")
    assert prefixes_of(canonical("2001:db8:1:2:3:4:5:6")) == (
        "2001:db8:1:2::/64",
        "2001:db8:1::/48",
    )


def test_a_place_that_is_released_can_be_taken_again() -> None:
    here = limits()
    assert here.admit(of("a"), 0) is Admission.ADMITTED
    assert here.admit(of("a"), 0) is Admission.ADMITTED
    assert here.admit(of("a"), 0) is Admission.TOO_MANY
    assert here.admit(of("b"), 0) is Admission.ADMITTED
    assert here.report() == {"a/32": 2, "b/32": 1, "a/24": 2, "b/24": 1}
    here.release(of("a"))
    assert here.admit(of("a"), 0) is Admission.ADMITTED
    for key in ("a", "a", "b"):
        here.release(of(key))
    assert here.report() == {}


def test_connections_to_other_workers_count() -> None:
    here = limits(connections=5)
    here.elsewhere({"a/32": 4}, {}, 0)
    assert here.admit(of("a"), 0) is Admission.ADMITTED
    assert here.admit(of("a"), 0) is Admission.TOO_MANY
    here.elsewhere({}, {}, 0)
    assert here.admit(of("a"), 0) is Admission.ADMITTED


def test_a_burst_is_allowed_and_then_a_steady_rate() -> None:
    here = limits(connections=1000, rate=(10, 60.0))
    assert [here.admit(of("a"), 100.0) for _ in range(11)] == [Admission.ADMITTED] * 10 + [
        Admission.TOO_FAST
    ]
    assert here.admit(of("b"), 100.0) is Admission.ADMITTED
    assert here.admit(of("a"), 105.0) is Admission.TOO_FAST
    assert here.admit(of("a"), 106.1) is Admission.ADMITTED
    assert here.admit(of("a"), 106.2) is Admission.TOO_FAST
    assert all(here.admit(of("a"), 1000.0) is Admission.ADMITTED for _ in range(10))


def test_what_was_refused_costs_nothing_later() -> None:
    here = limits(connections=1000, rate=(1, 10.0))
    assert here.admit(of("a"), 0) is Admission.ADMITTED
    for _ in range(100):
        assert here.admit(of("a"), 1) is Admission.TOO_FAST
    assert here.admit(of("a"), 10.1) is Admission.ADMITTED


def test_quiet_clients_are_forgotten() -> None:
    here = limits(connections=10, rate=(10, 60.0))
    for number in range(25_000):
        here.admit(of(str(number)), float(number))
        here.release(of(str(number)))
    assert len(here._clients._empty_at) < 15_000
    assert here.report() == {}


def test_new_connections_to_other_workers_spend_the_same_rate() -> None:
    here = limits(connections=100, rate=(4, 60.0))
    assert here.admit(of("a"), 0) is Admission.ADMITTED
    here.elsewhere({}, {"a/32": 2}, 0)
    assert here.admit(of("a"), 0) is Admission.ADMITTED
    assert here.admit(of("a"), 0) is Admission.TOO_FAST
    assert here.admit(of("a"), 15) is Admission.ADMITTED


def test_what_arrived_is_told_once() -> None:
    here = limits(connections=100, rate=(4, 60.0))
    here.admit(of("a"), 0)
    here.admit(of("a"), 0)
    assert here.arrivals() == {"a/32": 2}
    assert here.arrivals() == {}


def test_without_a_rate_arrivals_are_not_counted() -> None:
    here = limits(connections=100)
    here.admit(of("a"), 0)
    assert here.arrivals() == {}


def of_network(connections: int = 100, rate: tuple[int, float] | None = None) -> ClientLimits:
    return ClientLimits(
        EdgeSettings(
            "h",
            rate_per_client=None,
            connections_per_network=connections,
            rate_per_network=rate,
        )
    )


def in_network(number: int) -> Prefixes:
    return prefixes_of(canonical(f"192.0.2.{number}"))


def test_many_addresses_of_one_network_share_its_connections() -> None:
    here = of_network(connections=3)
    assert [here.admit(in_network(n), 0) for n in range(4)] == [Admission.ADMITTED] * 3 + [
        Admission.TOO_MANY
    ]
    assert here.admit(prefixes_of(canonical("192.0.3.1")), 0) is Admission.ADMITTED
    here.release(in_network(1))
    assert here.admit(in_network(9), 0) is Admission.ADMITTED


def test_a_network_is_counted_with_what_is_connected_elsewhere() -> None:
    here = of_network(connections=5)
    here.elsewhere({"192.0.2.0/24": 4}, {}, 0)
    assert here.admit(in_network(1), 0) is Admission.ADMITTED
    assert here.admit(in_network(2), 0) is Admission.TOO_MANY


def test_a_network_has_one_rate_for_all_its_addresses_and_workers() -> None:
    here = of_network(rate=(4, 60.0))
    assert here.admit(in_network(1), 0) is Admission.ADMITTED
    here.elsewhere({}, {"192.0.2.0/24": 2, "192.0.2.7/32": 2}, 0)
    assert here.admit(in_network(2), 0) is Admission.ADMITTED
    assert here.admit(in_network(3), 0) is Admission.TOO_FAST
    assert here.arrivals() == {"192.0.2.0/24": 2}


def test_who_is_refused_by_the_network_spends_nothing_of_its_own() -> None:
    here = ClientLimits(EdgeSettings("h", rate_per_client=(1, 10.0), rate_per_network=(1, 5.0)))
    assert here.admit(in_network(1), 0) is Admission.ADMITTED
    assert here.admit(in_network(2), 1) is Admission.TOO_FAST
    assert here.admit(in_network(2), 5.1) is Admission.ADMITTED
