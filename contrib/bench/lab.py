"""What the acceptance programs share: a relay in a directory of its own, and a table.

The relay and its neighbours are those of the end-to-end tests.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 (the path comes first)
from rich.table import Table  # noqa: E402

# Ended from outside, we still end what we started: the `with` blocks do.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

console = Console(width=max(100, shutil.get_terminal_size().columns))


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A short path that every user may search, removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="er-bench-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table)


def verdict(*claims: tuple[str, bool]) -> int:
    """Print each claim with whether it holds; the exit status."""
    for claim, holds in claims:
        console.print(f"{'[green]holds[/green]' if holds else '[red]FAILS[/red]'}  {claim}")
    return 0 if all(holds for _, holds in claims) else 1
