"""Rules between keys, asked of the raw file so that they are told beside every other problem.

A value of the wrong type is somebody else's finding: here it is passed over.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edgerelay import units
from edgerelay.config import names
from edgerelay.config.errors import Problem

_NEEDS_CERTIFICATE: Final = ("starttls", "required", "implicit")


def broken_rules(raw: dict[str, Any], base: Path) -> Iterator[Problem]:
    """Every rule that the file breaks. ``base`` is where relative paths begin."""
    yield from _listeners(raw)
    yield from _routes(raw, base)
    yield from _user(raw)


def _tables(raw: dict[str, Any], name: str) -> list[tuple[int, dict[str, Any]]]:
    tables = raw.get(name)
    if not isinstance(tables, list):
        return []
    return [(index, table) for index, table in enumerate(tables) if isinstance(table, dict)]


def _listeners(raw: dict[str, Any]) -> Iterator[Problem]:
    seen: dict[tuple[str, int], int] = {}
    if raw.get("listener") == []:
        yield Problem(("listener",), "expected at least one entry")
    for index, table in _tables(raw, "listener"):
        tls = table.get("tls")
        if tls in _NEEDS_CERTIFICATE and "tls" not in raw:
            text = f'"{tls}" needs a certificate: add [tls] with certificate and private_key'
            yield Problem(("listener", index, "tls"), text)
        yield from _client_certificate(raw, index, table)
        try:
            address = units.address_and_port(table.get("address", "0.0.0.0:25"))
        except ValueError:
            continue
        first = seen.setdefault(address, index)
        if first != index and address[1] != 0:
            text = f"listener[{first + 1}] has the same address"
            yield Problem(("listener", index, "address"), text)


def _client_certificate(
    raw: dict[str, Any], index: int, table: dict[str, Any]
) -> Iterator[Problem]:
    where = ("listener", index, "client_certificate")
    if table.get("client_certificate") != "request":
        return
    tls = raw.get("tls")
    if not isinstance(tls, dict) or "client_ca" not in tls:
        yield Problem(where, '"request" needs tls.client_ca: who may have signed it')
    if table.get("tls") == "off":
        yield Problem(where, '"request" needs TLS, which is "off" here')


def _routes(raw: dict[str, Any], base: Path) -> Iterator[Problem]:
    if "route" not in raw and not _relays_for_someone(raw):
        yield Problem((), "no [[route]]: there is no domain to take mail for")
    seen: dict[str, int] = {}
    for index, table in _tables(raw, "route"):
        yield from _domains(index, table, seen)
        yield from _recipients(index, table, base)


def _relays_for_someone(raw: dict[str, Any]) -> bool:
    access = raw.get("access")
    return isinstance(access, dict) and bool(access.get("relay_from"))


def _domains(index: int, table: dict[str, Any], seen: dict[str, int]) -> Iterator[Problem]:
    domains = table.get("domains")
    for number, written in enumerate(domains if isinstance(domains, list) else []):
        try:
            domain = names.route_domain(written)
        except ValueError:
            continue
        first = seen.setdefault(domain, index)
        if first != index:
            text = f'"{written}" is in route[{first + 1}] already, and the first match wins'
            yield Problem(("route", index, "domains", number), text)


def _recipients(index: int, table: dict[str, Any], base: Path) -> Iterator[Problem]:
    where = ("route", index, "recipients")
    recipients, hops = table.get("recipients"), table.get("next_hop")
    hops = [hop for hop in hops if isinstance(hop, str)] if isinstance(hops, list) else []
    if recipients == "callout" and any(hop.startswith("maildir:") for hop in hops):
        yield Problem(where, 'a maildir cannot be asked: use "any" or "file:PATH"')
    if isinstance(recipients, str) and recipients.startswith("file:"):
        path = base / recipients.removeprefix("file:")
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            yield Problem(where, f"cannot read {path}: {error.strerror}")


def _user(raw: dict[str, Any]) -> Iterator[Problem]:
    """A user that is named must exist where it will be needed: when we are root."""
    user = raw.get("user")
    if isinstance(user, str) and user and os.geteuid() == 0:
        try:
            pwd.getpwnam(user)
        except KeyError:
            yield Problem(("user",), f'this machine has no user "{user}"')
