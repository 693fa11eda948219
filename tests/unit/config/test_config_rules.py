"""Rules between keys."""

from __future__ import annotations

import os

import pytest

from edgerelay.config import ConfigError, parse

ROUTE = '[[route]]\ndomains = ["example.com"]\nnext_hop = ["mx"]\n'


def problems(text: str, origin: str = "e.toml") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), origin)
    return caught.value.problems


def test_two_listeners_on_one_address_are_one_too_many() -> None:
    listener = '[[listener]]\naddress = "127.0.0.1:25"\n'
    assert problems(ROUTE + listener + listener) == [
        "e.toml:7: listener[2].address: listener[1] has the same address"
    ]


def test_two_listeners_on_port_zero_are_two_ports() -> None:
    listener = '[[listener]]\naddress = "127.0.0.1:0"\n'
    assert len(parse((ROUTE + listener + listener).encode(), "e.toml").listeners) == 2


def test_a_file_without_a_route_takes_no_mail_at_all() -> None:
    assert problems("") == ["e.toml: no [[route]]: there is no domain to take mail for"]


def test_whoever_may_relay_needs_no_route() -> None:
    parse(b'[access]\nrelay_from = ["192.0.2.1"]', "e.toml")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_user_that_is_named_must_exist() -> None:
    assert problems('user = "nobody-at-all"\n' + ROUTE) == [
        'e.toml:1: user: this machine has no user "nobody-at-all"'
    ]
