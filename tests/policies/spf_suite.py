"""Reads the RFC 7208 test suite of the openspf project: its scenarios, zones and cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from edgerelay.dns.answer import Mx, Record
from edgerelay.testing.literal_dns import Fault, Zone

PATH: Final = Path(__file__).parent / "data/spf/rfc7208-tests.yml"
_TYPES: Final = ("TXT", "A", "AAAA", "MX", "PTR")


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    scenario: str
    zone: Zone
    client: str
    helo: str
    mail_from: str
    results: tuple[str, ...]  #: any of these; the first is preferred
    explanation: str  #: "" where the suite says nothing, "DEFAULT" where there is none

    def __str__(self) -> str:
        return self.name


def cases() -> list[Case]:
    """All of them, in the order of the file."""
    found = []
    for scenario in yaml.safe_load_all(PATH.read_text()):
        if not scenario:
            continue
        zone = _zone(scenario["zonedata"])
        for name, case in scenario["tests"].items():
            result = case["result"]
            found.append(
                Case(
                    name,
                    scenario["description"],
                    zone,
                    case["host"],
                    case["helo"],
                    case["mailfrom"],
                    (result,) if isinstance(result, str) else tuple(result),
                    case.get("explanation", ""),
                )
            )
    return found


def _zone(data: Mapping[str, list[Any]]) -> Zone:
    zone: dict[tuple[str, str], list[Record] | Fault] = {}
    for name, entries in data.items():
        known = {rdtype for entry in entries if isinstance(entry, dict) for rdtype in entry}
        for rdtype, value in _entries(entries):
            # The suite is older than the end of type SPF: its records are those of TXT, unless
            # the name has its own.
            if rdtype == "SPF":
                if "TXT" in known:
                    continue
                rdtype = "TXT"
            if value == "NONE":
                continue  # it only says that type SPF is not to be copied
            if value == "TIMEOUT":
                zone[name, rdtype] = Fault.TIMEOUT
            else:
                records = zone.setdefault((name, rdtype), [])
                assert isinstance(records, list)
                records.append(_record(rdtype, value))
        if "TIMEOUT" in entries:  # whatever is not there is never answered
            for rdtype in _TYPES:
                zone.setdefault((name, rdtype), Fault.TIMEOUT)
    return zone


def _entries(entries: list[Any]) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        if isinstance(entry, dict):
            yield from entry.items()


def _record(rdtype: str, value: Any) -> Record:
    match rdtype:
        case "MX":
            return Mx(value[0], value[1].removesuffix("."))
        case "TXT":
            strings = [value] if isinstance(value, str) else value
            return tuple(
                string.encode() for string in strings or [""]
            )  # on the wire, one at least
        case _:
            return str(value).removesuffix(".")
