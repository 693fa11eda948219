"""How many connections a client may hold, and how fast it may make them."""

from __future__ import annotations

from edgerelay.edge.limits import Admission, ClientLimits, client_key
from edgerelay.edge.settings import EdgeSettings
from edgerelay.net.endpoint import canonical


def limits(connections: int = 2, rate: tuple[int, float] | None = None) -> ClientLimits:
    return ClientLimits(
        EdgeSettings("h", connections_per_client=connections, rate_per_client=rate)
    )


def test_a_client_is_an_address_or_a_network_of_ipv6() -> None:
    assert client_key(canonical("192.0.2.1")) == "192.0.2.1/32"
    assert client_key(canonical("::ffff:192.0.2.1")) == "192.0.2.1/32"
    assert client_key(canonical("2001:db8:1:2:3:4:5:6")) == "2001:db8:1:2::/64"


def test_a_place_that_is_released_can_be_taken_again() -> None:
    here = limits()
    assert here.admit("a", 0) is Admission.ADMITTED
    assert here.admit("a", 0) is Admission.ADMITTED
    assert here.admit("a", 0) is Admission.TOO_MANY
    assert here.admit("b", 0) is Admission.ADMITTED
    assert here.report() == {"a": 2, "b": 1}
    here.release("a")
    assert here.admit("a", 0) is Admission.ADMITTED
    for key in ("a", "a", "b"):
        here.release(key)
    assert here.report() == {}


def test_connections_to_other_workers_count() -> None:
    here = limits(connections=5)
    here.elsewhere({"a": 4}, {}, 0)
    assert here.admit("a", 0) is Admission.ADMITTED
    assert here.admit("a", 0) is Admission.TOO_MANY
    here.elsewhere({}, {}, 0)
    assert here.admit("a", 0) is Admission.ADMITTED


def test_a_burst_is_allowed_and_then_a_steady_rate() -> None:
    here = limits(connections=1000, rate=(10, 60.0))
    assert [here.admit("a", 100.0) for _ in range(11)] == [Admission.ADMITTED] * 10 + [
        Admission.TOO_FAST
    ]
    assert here.admit("b", 100.0) is Admission.ADMITTED
    assert here.admit("a", 105.0) is Admission.TOO_FAST
    assert here.admit("a", 106.1) is Admission.ADMITTED
    assert here.admit("a", 106.2) is Admission.TOO_FAST
    assert all(here.admit("a", 1000.0) is Admission.ADMITTED for _ in range(10))


def test_what_was_refused_costs_nothing_later() -> None:
    here = limits(connections=1000, rate=(1, 10.0))
    assert here.admit("a", 0) is Admission.ADMITTED
    for _ in range(100):
        assert here.admit("a", 1) is Admission.TOO_FAST
    assert here.admit("a", 10.1) is Admission.ADMITTED


def test_quiet_clients_are_forgotten() -> None:
    here = limits(connections=10, rate=(10, 60.0))
    for number in range(25_000):
        here.admit(str(number), float(number))
        here.release(str(number))
    assert len(here._empty_at) < 15_000
    assert here.report() == {}


def test_new_connections_to_other_workers_spend_the_same_rate() -> None:
    here = limits(connections=100, rate=(4, 60.0))
    assert here.admit("a", 0) is Admission.ADMITTED
    here.elsewhere({}, {"a": 2}, 0)
    assert here.admit("a", 0) is Admission.ADMITTED
    assert here.admit("a", 0) is Admission.TOO_FAST
    assert here.admit("a", 15) is Admission.ADMITTED


def test_what_arrived_is_told_once() -> None:
    here = limits(connections=100, rate=(4, 60.0))
    here.admit("a", 0)
    here.admit("a", 0)
    assert here.arrivals() == {"a": 2}
    assert here.arrivals() == {}


def test_without_a_rate_arrivals_are_not_counted() -> None:
    here = limits(connections=100)
    here.admit("a", 0)
    assert here.arrivals() == {}
