"""On which line of a TOML file each key stands, which `tomllib` does not tell.

Not a parser: it runs on text that `tomllib` has accepted, and where it is fooled (a table
header within a multi-line string) an error message names a line that is off, nothing more.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from edgerelay.config.errors import KeyPath

_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED: Final = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_ARRAY: Final = re.compile(rf"\s*\[\[\s*({_DOTTED})\s*\]\]")
_TABLE: Final = re.compile(rf"\s*\[\s*({_DOTTED})\s*\]\s*(?:#.*)?$")
_PAIR: Final = re.compile(rf"\s*({_DOTTED})\s*=")
_PART: Final = re.compile(_KEY)


def lines_of_keys(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every table and key that could be found."""
    lines: dict[KeyPath, int] = {}
    counts: Counter[KeyPath] = Counter()
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := _ARRAY.match(line):
            name = _parts(match[1])
            table = (*name, counts[name])
            counts[name] += 1
            lines.setdefault(name, number)
            lines[table] = number
        elif match := _TABLE.match(line):
            table = _parts(match[1])
            lines.setdefault(table, number)
        elif match := _PAIR.match(line):
            path: KeyPath = table
            for part in _parts(match[1]):
                path = (*path, part)
                lines.setdefault(path, number)
    return lines


def line_of(path: KeyPath, lines: dict[KeyPath, int]) -> int | None:
    """Return the line of the key, or of the nearest thing around it that has one."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
