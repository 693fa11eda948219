"""What is wrong with a configuration is said completely, with file, line, key and the remedy."""

from __future__ import annotations

import pytest

from edgerelay.config import ConfigError, parse

ROUTE = '[[route]]\ndomains = ["example.com"]\nnext_hop = ["mx"]\n'

DURATION = 'expected a duration such as "90s" (units: ms, s, m, h, d)'
SIZE = 'expected a size such as 1000000 or "50MiB" (units: B, KB, MB, GB, KiB, MiB, GiB)'
ADDRESS = 'expected an address and a port such as "192.0.2.1:25" or "[2001:db8::1]:25"'
HOPS = (
    "expected smtp://HOST[:PORT], smtps://HOST[:PORT], lmtp://HOST[:PORT], "
    "lmtp+unix:///PATH, maildir:///PATH, mx:DOMAIN or mx"
)


def problems(text: str, origin: str = "e.toml") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), origin)
    return caught.value.problems


# Each group: a line (or table) added to a good file, and the one thing said about it.
TOP = [
    # Unknown keys: a slip of the hand, a key of another table, a feature there is not.
    ('hostnam = "a.b"', 'hostnam: unknown key; did you mean "hostname"?'),
    ('message_size = "1MB"', 'message_size: unknown key; did you mean "limits.message_size"?'),
    ('authserv_id = "a b"', 'authserv_id: expected a name such as "mx.example.com"'),
    ('remove_results_of = "x"', 'remove_results_of: expected a list, as ["..."]'),
    # Types and values.
    ('hostname = "exa mple.com"', "hostname: 'exa mple.com' is no domain"),
    ("hostname = 5", 'hostname: expected a domain such as "example.com"'),
    ('postmaster = "root"', 'postmaster: expected a mailbox such as "postmaster@example.com"'),
    ('state_dir = ""', "state_dir: expected a name, not empty"),
    ('workers = "many"', 'workers: expected "auto" or a number from 1 to 1024'),
    ("workers = 0", 'workers: expected "auto" or a number from 1 to 1024'),
    ("workers = true", 'workers: expected "auto" or a number from 1 to 1024'),
    ("drain = 30", f"drain: {DURATION}"),
    ('drain = "30 parsecs"', f"drain: {DURATION}"),
    ('drain = "-1s"', f"drain: {DURATION}"),
    ('drain = "9999999d"', "drain: a duration of more than a hundred years"),
    ("dns = 5", "dns: expected a table: [dns]"),
    ("listener = 5", "listener: expected a table: [[listener]]"),
    ("listener = []", "listener: expected at least one entry"),
]
TABLES = [
    ('[dns]\nservers = "127.0.0.1"', 'dns.servers: expected a list, as ["..."]'),
    ('[dns]\nservers = ["dns.example"]', f"dns.servers[1]: {ADDRESS}"),
    ('[dns]\ntimeout = "0s"', "dns.timeout: expected a duration above zero"),
    ('[[listener]]\naddress = "0.0.0.0"', f"listener[1].address: {ADDRESS}"),
    ('[[listener]]\naddress = "mx.example.com:25"', f"listener[1].address: {ADDRESS}"),
    ('[[listener]]\naddress = "::1:25"', "listener[1].address: '::1:25' is no host and port"),
    (
        '[[listener]]\naddress = "127.0.0.1:65536"',
        "listener[1].address: '127.0.0.1:65536' is no host and port",
    ),
    ('[[listener]]\nrole = "submission"', 'listener[1].role: allowed: "mx"'),
    (
        '[[listener]]\ntls = "on"',
        'listener[1].tls: allowed: "off", "starttls", "required", "implicit"',
    ),
    (
        '[[listener]]\ntls = "required"',
        'listener[1].tls: "required" needs a certificate: '
        "add [tls] with certificate and private_key",
    ),
    (
        '[[listener]]\nbare_newline = "normalise"',
        'listener[1].bare_newline: allowed: "reject", "normalize"',
    ),
    (
        "[[listener]]\nproxy_from = []",
        'listener[1].proxy_from: unknown key; did you mean "proxy_protocol_from"?',
    ),
    (
        '[[listener]]\nproxy_protocol_from = ["10.0.0.1/8"]',
        "listener[1].proxy_protocol_from[1]: has bits set beyond its prefix; "
        'did you mean "10.0.0.0/8"?',
    ),
    (
        "[limits]\nmesage_size = 5",
        'limits.mesage_size: unknown key; did you mean "message_size"?',
    ),
    ("[limits]\nmessage_size = 1.5", f"limits.message_size: {SIZE}"),
    ('[limits]\nmessage_size = "50 MO"', f"limits.message_size: {SIZE}"),
    ("[limits]\nmessage_size = 0", "limits.message_size: expected a size above zero"),
    ("[limits]\nmessage_size = true", f"limits.message_size: {SIZE}"),
    ('[limits]\nlong_lines = "wrap"', 'limits.long_lines: allowed: "accept", "reject"'),
    ('[limits]\nconnections = "5"', "limits.connections: expected a whole number"),
    ("[limits]\nconnections = true", "limits.connections: expected a whole number"),
    ("[limits]\nconnections = 0", "limits.connections: expected a number of at least 1"),
    (
        '[limits]\nrate_per_client = "100"',
        'limits.rate_per_client: expected a rate such as "100/m" (per s, m or h), or "off"',
    ),
    (
        '[limits]\nrate_per_client = "0/m"',
        'limits.rate_per_client: expected a rate such as "100/m" (per s, m or h), or "off"',
    ),
    (
        '[limits]\nrate_per_network = "0/m"',
        'limits.rate_per_network: expected a rate such as "100/m" (per s, m or h), or "off", '
        'or "auto"',
    ),
    (
        "[limits]\nconnections_per_network = 0",
        'limits.connections_per_network: expected "auto" or a number from 1 to 10000000',
    ),
    (
        '[access]\nrelay_from = ["lan"]',
        'access.relay_from[1]: expected a network such as "192.0.2.0/24"',
    ),
    ("[queue]\nretry = []", "queue.retry: expected at least one entry"),
    ('[queue]\nretry = ["1m", 5]', f"queue.retry[2]: {DURATION}"),
    (
        '[delivery]\nsource = ["eth0"]',
        'delivery.source[1]: expected an address such as "192.0.2.1"',
    ),
    ('[tls]\ncertificate = "x.pem"', "tls.private_key: is required"),
    ("[policy]", "policy: expected a table: [[policy]]"),
    ('[tables]\nbackend = "valkey"', 'tables.backend: allowed: "sqlite", "memory"'),
    (
        '[tables]\non_down = "defer"',
        'tables.on_down: unknown key; the nearest known one is "backend"',
    ),
    ('[limits]\ndelay_reject = "yes"', "limits.delay_reject: expected true or false"),
    ("[limits]\ndecision_timeout = 100", f"limits.decision_timeout: {DURATION}"),
    ('[admin]\nlisten = "127.0.0.1:8025"', 'admin: unknown key; did you mean "drain"?'),
]
ROUTES = [
    ('next_hop = ["mx"]', "route[1].domains: is required"),
    ('domains = ["a.b"]', "route[1].next_hop: is required"),
    ('domains = []\nnext_hop = ["mx"]', "route[1].domains: expected at least one entry"),
    ('domains = "a.b"\nnext_hop = ["mx"]', 'route[1].domains: expected a list, as ["..."]'),
    ('domains = ["a..b"]\nnext_hop = ["mx"]', "route[1].domains[1]: 'a..b' is no domain"),
    ('domains = ["a.b"]\nnext_hop = ["10.0.0.5"]', f"route[1].next_hop[1]: {HOPS}"),
    ('domains = ["a.b"]\nnext_hop = ["smtp://"]', f"route[1].next_hop[1]: {HOPS}"),
    ('domains = ["a.b"]\nnext_hop = ["smtp://h:0"]', f"route[1].next_hop[1]: {HOPS}"),
    ('domains = ["a.b"]\nnext_hop = ["smtp://u@h"]', "route[1].next_hop[1]: 'u@h' is no domain"),
    ('domains = ["a.b"]\nnext_hop = ["http://h"]', f"route[1].next_hop[1]: {HOPS}"),
    (
        'domains = ["a.b"]\nnext_hop = ["maildir://here"]',
        "route[1].next_hop[1]: expected maildir:///PATH with an absolute path",
    ),
    (
        'domains = ["a.b"]\nnext_hop = ["maildir:///m/{user}"]',
        "route[1].next_hop[1]: a maildir path knows {local_part} and {domain} only",
    ),
    (
        'domains = ["a.b"]\nnext_hop = ["maildir:///m/../x"]',
        "route[1].next_hop[1]: a maildir path must not lead upwards (..)",
    ),
    (
        'domains = ["a.b"]\nnext_hop = ["mx"]\ndelivery = "cut-through"',
        'route[1].delivery: allowed: "spool"',
    ),
    (
        'domains = ["a.b"]\nnext_hop = ["mx"]\nrecipients = "some"',
        'route[1].recipients: allowed: "callout", "any", "file:PATH"',
    ),
    (
        'domains = ["a.b"]\nnext_hop = ["maildir:///m"]\nrecipients = "callout"',
        'route[1].recipients: a maildir cannot be asked: use "any" or "file:PATH"',
    ),
    (
        'domains = ["a.b"]\nnext_hop = ["mx"]\ntls = "dane"',
        'route[1].tls: allowed: "off", "opportunistic", "required", "verify"',
    ),
    (
        'domains = ["a.b"]\nnext_hop = ["mx"]\nusername = "u"',
        'route[1].username: unknown key; the nearest known one is "delivery"',
    ),
    (
        'domains = ["a.b"]\nnext_hop = ["mx"]\n[[route]]\ndomains = ["A.B."]\nnext_hop = ["mx"]',
        'route[2].domains[1]: "A.B." is in route[1] already, and the first match wins',
    ),
]


@pytest.mark.parametrize(("line", "said"), TOP, ids=lambda text: text[:40])
def test_a_bad_line_at_the_top_is_the_only_problem(line: str, said: str) -> None:
    assert problems(f"{line}\n{ROUTE}") == [f"e.toml:1: {said}"]


@pytest.mark.parametrize(("table", "said"), TABLES, ids=lambda text: text[:40])
def test_a_bad_table_is_the_only_problem(table: str, said: str) -> None:
    line = 4 if table.startswith(("[policy", "[admin")) or "is required" in said else 5
    assert problems(f"{ROUTE}{table}\n") == [f"e.toml:{line}: {said}"]


@pytest.mark.parametrize(("lines", "said"), ROUTES, ids=lambda text: text[:60])
def test_a_bad_route_is_the_only_problem(lines: str, said: str) -> None:
    (problem,) = problems(f"[[route]]\n{lines}\n")
    assert problem.split(": ", 1)[1] == said
