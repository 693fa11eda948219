"""What is wrong with a configuration: every problem, each on a line of its own."""

from __future__ import annotations

from dataclasses import dataclass

#: Where a value stands: ("route", 0, "next_hop", 1). Indexes count from 0 here.
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    path: KeyPath
    text: str


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` are lines for the operator, all of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def key_text(path: KeyPath) -> str:
    """``route[1].next_hop[2]``: people count from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text
