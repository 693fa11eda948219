"""What a good configuration becomes."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from edgerelay.config import Config, parse
from edgerelay.config.machine import machine_hostname, usable_cores
from edgerelay.edge.settings import EdgeSettings, ListenerTls
from edgerelay.relay.settings import HopKind, HopTls, NextHop, RelaySettings

ROUTE = '[[route]]\ndomains = ["example.com"]\nnext_hop = ["smtp://10.0.0.5"]\n'


def good(text: str, origin: str = "/etc/e.toml") -> Config:
    return parse(text.encode(), origin)


def test_the_smallest_useful_file_is_one_route() -> None:
    config = good(ROUTE)
    (route,) = config.relay().routes
    assert route.next_hops == (NextHop(HopKind.SMTP, "10.0.0.5", 25),)
    assert route.recipients == "callout"
    assert config.listener_addresses == (("0.0.0.0", 25),)  # noqa: S104 - the default
    assert [listener.name for listener in config.listeners] == ["0.0.0.0:25"]
    assert config.hostname == machine_hostname()
    assert config.workers == usable_cores()
    assert config.state_dir == Path("/var/lib/edgerelay")
    assert (config.user, config.user_is_explicit) == ("edgerelay", False)


def test_defaults_are_those_of_the_settings() -> None:
    """Both sides have defaults of their own, for tests; the file's are the same."""
    config = good('hostname = "a.example"\nworkers = 1\n' + ROUTE)
    postmaster = "postmaster@example.com"
    assert config.edge() == EdgeSettings(
        "a.example", postmaster, authserv_id="a.example", listeners=config.listeners
    )
    assert config.relay() == RelaySettings("a.example", postmaster, config.relay().routes)


@pytest.mark.parametrize(
    ("domains", "expected"),
    [
        ('["example.com", "example.org"]', "postmaster@example.com"),
        ('[".example.com", "*", "example.org"]', "postmaster@example.org"),
        ('["*"]', ""),
    ],
)
def test_postmaster_has_a_mailbox_in_the_first_domain_named(domains: str, expected: str) -> None:
    route = f'[[route]]\ndomains = {domains}\nnext_hop = ["mx"]\n'
    assert good(route).postmaster == expected


def test_every_key_arrives() -> None:
    config = good(
        """
hostname = "MX.Example.COM."
authserv_id = "Inbound"
remove_results_of = ["old.example.com", "_x"]
postmaster = "Post@example.com"
state_dir = "state"
workers = 3
drain = "0s"
[dns]
servers = ["127.0.0.1", "[::1]:5300"]
timeout = "500ms"
[[listener]]
address = "[::]:0"
tls = "off"
proxy_protocol_from = ["10.0.0.0/8", "192.0.2.1"]
[limits]
message_size = "1KB"
long_lines = "reject"
delivered_before = "accept"
recipients_per_message = 1
connections = 2
connections_per_client = 3
rate_per_client = "5/h"
connections_per_network = 4
rate_per_network = "off"
errors_per_session = 6
command_timeout = "7s"
data_timeout = "8m"
session_timeout = "9h"
decision_timeout = "10s"
delay_reject = false
content_memory = "1.5KiB"
min_free_space = 0
[access]
relay_from = ["::1"]
[[route]]
domains = ["bücher.example", ".Sub.example", "*"]
next_hop = ["smtps://h", "lmtp://[2001:db8:0::1]", "lmtp+unix:///run/l%20mtp", "mx:a.b", "mx"]
recipients = "any"
tls = "verify"
[queue]
retry = ["1s"]
warn_after = "2s"
expire = "3s"
concurrency_per_destination = 7
[delivery]
connect = "1s"
greeting = "2s"
command = "3s"
data_start = "4s"
data_block = "5s"
data_end = "6s"
source = ["192.0.2.7", "2001:db8::7"]
[tables]
backend = "memory"
"""
    )
    edge, relay = config.edge(), config.relay()
    assert config.hostname == edge.hostname == relay.hostname == "mx.example.com"
    assert config.postmaster == edge.postmaster == relay.postmaster == "Post@example.com"
    assert config.state_dir == Path("/etc/state")
    assert (config.workers, config.drain, config.min_free_space) == (3, 0.0, 0)
    assert config.dns_servers == (("127.0.0.1", 53), ("::1", 5300))
    assert config.dns_timeout == 0.5
    assert config.tables_backend == "memory"
    assert config.listener_addresses == (("::", 0),)
    (listener,) = config.listeners
    assert (listener.name, listener.tls) == ("[::]:0", ListenerTls.OFF)
    assert listener.proxy_protocol_from == (ip_network("10.0.0.0/8"), ip_network("192.0.2.1"))
    assert edge == EdgeSettings(
        hostname="mx.example.com",
        postmaster="Post@example.com",
        authserv_id="Inbound",
        remove_results_of=("old.example.com", "_x"),
        relay_from=(ip_network("::1"),),
        message_size=1000,
        recipients_per_message=1,
        connections=2,
        connections_per_client=3,
        rate_per_client=(5, 3600.0),
        connections_per_network=4,
        rate_per_network=None,
        errors_per_session=6,
        command_timeout=7.0,
        data_timeout=480.0,
        session_timeout=32400.0,
        decision_timeout=10.0,
        delay_reject=False,
        content_memory=1536,
        long_lines="reject",
        delivered_before="accept",
        listeners=config.listeners,
    )
    (route,) = relay.routes
    assert route.domains == ("xn--bcher-kva.example", ".sub.example", "*")
    assert list(map(str, route.next_hops)) == [
        "smtps://h:465",
        "lmtp://[2001:db8::1]:24",
        "lmtp+unix:///run/l mtp",
        "mx:a.b",
        "mx",
    ]
    assert (route.recipients, route.tls) == ("any", HopTls.VERIFY)
    assert (relay.retry, relay.warn_after, relay.expire) == ((1.0,), 2.0, 3.0)
    assert relay.concurrency_per_destination == 2  # 7 among 3 workers
    assert (relay.connect, relay.greeting, relay.command) == (1.0, 2.0, 3.0)
    assert (relay.data_start, relay.data_block, relay.data_end) == (4.0, 5.0, 6.0)
    assert relay.source == ("192.0.2.7", "2001:db8::7")


def test_more_workers_than_connections_still_have_one_each() -> None:
    config = good("workers = 4\n" + ROUTE + "[queue]\nconcurrency_per_destination = 2\n")
    assert config.relay().concurrency_per_destination == 1


@pytest.mark.parametrize("hop", ["maildir:///var/mail/{domain}/{local_part}", "mx", "mx:a.b"])
def test_where_nobody_can_be_asked_any_recipient_is_taken(hop: str) -> None:
    config = good(f'[[route]]\ndomains = ["*"]\nnext_hop = ["{hop}"]\n')
    assert config.relay().routes[0].recipients == "any"


def test_a_recipients_file_is_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "users.txt").touch()
    config = good(ROUTE + 'recipients = "file:users.txt"\n', str(tmp_path / "e.toml"))
    assert config.relay().routes[0].recipients == tmp_path / "users.txt"
