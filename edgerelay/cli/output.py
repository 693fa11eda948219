"""What a command prints: results on standard output, what went wrong on standard error.

On a terminal tables are drawn by rich; through a pipe they are plain columns, and rich is
not imported. Everything printed was escaped before, or is escaped here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import IO, Any

import click

from edgerelay.observe.escape import escape


class NotSo(click.ClickException):
    """Exit code 1: the thing asked for is not so."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        complain(self.message)


class ConfigTrouble(click.ClickException):
    """Exit code 2: the configuration cannot be used; each problem has its line."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def show(self, file: IO[Any] | None = None) -> None:
        for problem in self.problems:
            complain(problem)


def complain(text: str) -> None:
    """One line on standard error."""
    click.echo(f"edgerelay: {escape(text)}", err=True)


def print_json(value: Any) -> None:
    """One JSON document; on a terminal, indented."""
    import msgspec

    encoded = msgspec.json.encode(value)
    if sys.stdout.isatty():
        encoded = msgspec.json.format(encoded)
    click.echo(encoded.decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns under headings, on a terminal drawn and cut to its width."""
    if sys.stdout.isatty():
        _draw(headings, rows)
        return
    table = [headings, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(headings))]
    for row in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _draw(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: what is in it is no markup
    Console(highlight=False).print(table)


def plural(n: int, singular: str, plural: str) -> str:
    return f"{n:,} {singular if n == 1 else plural}"


def octets_text(octets: int) -> str:
    """``4.1 KiB``; three digits are enough for a person."""
    size = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def seconds_text(seconds: float) -> str:
    """``45s``, ``12m``, ``3h 20m``, ``5d 2h``."""
    s = max(0, int(seconds))
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m"
    if s < 86400:
        return f"{s // 3600}h {s % 3600 // 60}m"
    return f"{s // 86400}d {s % 86400 // 3600}h"
