"""What is wrong with a configuration is said completely, with file, line, key and the remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgerelay.config import ConfigError, find, load, parse, state_dir_of
from edgerelay.config.errors import key_text
from edgerelay.config.lines import line_of, lines_of_keys

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
    ('authserv_id = "x"', 'authserv_id: unknown key; the nearest known one is "user"'),
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
    ('[[listener]]\nbare_newline = "normalize"', 'listener[1].bare_newline: allowed: "reject"'),
    (
        "[[listener]]\nxclient_from = []",
        'listener[1].xclient_from: unknown key; the nearest known one is "proxy_protocol_from"',
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
    ('[[policy]]\nuse = "spf"', 'policy: unknown key; the nearest known one is "delivery"'),
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
    line = 4 if table.startswith(("[[policy", "[admin")) or "is required" in said else 5
    assert problems(f"{ROUTE}{table}\n") == [f"e.toml:{line}: {said}"]


@pytest.mark.parametrize(("lines", "said"), ROUTES, ids=lambda text: text[:60])
def test_a_bad_route_is_the_only_problem(lines: str, said: str) -> None:
    (problem,) = problems(f"[[route]]\n{lines}\n")
    assert problem.split(": ", 1)[1] == said


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    assert problems(
        """\
workers = "many"
[[listener]]
adress = "0.0.0.0:25"
tls = "implicit"
[tls]
private_key = "nowhere.pem"
certificate = "nowhere.pem"
[[route]]
next_hop = ["mx"]
recipients = "file:nowhere.txt"
""",
        "/nowhere/e.toml",
    ) == [
        '/nowhere/e.toml:1: workers: expected "auto" or a number from 1 to 1024',
        '/nowhere/e.toml:3: listener[1].adress: unknown key; did you mean "address"?',
        "/nowhere/e.toml:6: tls.private_key: /nowhere/nowhere.pem: no such file",
        "/nowhere/e.toml:7: tls.certificate: /nowhere/nowhere.pem: no such file",
        "/nowhere/e.toml:8: route[1].domains: is required",
        "/nowhere/e.toml:10: route[1].recipients: cannot read /nowhere/nowhere.txt: "
        "No such file or directory",
    ]


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


def test_what_is_no_toml_is_told_with_its_line() -> None:
    assert problems("x = [") == ["e.toml: not TOML: Invalid value (at end of document)"]
    assert problems("a = 1\na = 2\n") == [
        "e.toml: not TOML: Cannot overwrite a value (at line 2, column 6)"
    ]


def test_what_is_no_utf8_is_told_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"^e.toml:2: not UTF-8$"):
        parse(b'# \nhostname = "\xff"', "e.toml")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_user_that_is_named_must_exist() -> None:
    assert problems('user = "nobody-at-all"\n' + ROUTE) == [
        'e.toml:1: user: this machine has no user "nobody-at-all"'
    ]


def test_the_state_directory_is_found_whatever_else_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text('state_dir = "state"\nnonsense = 5\n')
    assert state_dir_of(file) == tmp_path / "state"
    file.write_text("state_dir = 5\n")
    with pytest.raises(ConfigError, match="state_dir: expected a name"):
        state_dir_of(file)


def test_the_file_is_the_one_named_or_the_first_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find(Path("a.toml"), {"EDGERELAY_CONFIG": "b.toml"}) == Path("a.toml")
    assert find(None, {"EDGERELAY_CONFIG": "b.toml"}) == Path("b.toml")
    (tmp_path / "edgerelay.toml").touch()
    assert find(None, {}) == Path("edgerelay.toml")


def test_keys_are_found_on_their_lines() -> None:
    lines = lines_of_keys(
        'a = 1 # [x]\n[t]\n"b" = [\n  1,\n]\n[[r]]\nc.d = 2\n[[r]]\nc = 3\n[r.s]\ne = 4\n'
    )
    assert lines["a",] == 1
    assert lines["t", "b"] == 3
    assert lines["r", 0, "c", "d"] == 7
    assert lines["r", 1, "c"] == 9
    assert line_of(("t", "missing"), lines) == 2
    assert line_of(("t", "b", 0), lines) == 3
    assert line_of(("nothing",), lines) is None


def test_people_count_from_one() -> None:
    assert key_text(("route", 0, "next_hop", 1)) == "route[1].next_hop[2]"
