"""docs/configuration.md and the program name the same keys with the same defaults."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
from pydantic import TypeAdapter

from edgerelay.config import parse
from edgerelay.config.model import File
from edgerelay.config.problems import known_keys

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
ROW = re.compile(r"\| `(?P<key>\w+)` \| (?P<default>.*?) \| (?P<meaning>.*) \|")


def documented() -> dict[tuple[str, str], str]:
    """Every row of a key table: (table, key) to its default as written."""
    rows, table = {}, ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            table = line.strip("# []") if "[" in line else ""
        elif match := ROW.fullmatch(line):
            rows[table, match["key"]] = match["default"]
    return rows


def tables() -> list[str]:
    return [name for name in known_keys(()) if known_keys((name,))]


def test_every_key_is_documented_and_no_other() -> None:
    top = {("", key) for key in known_keys(()) if key not in tables()}
    inner = {(table, key) for table in tables() for key in known_keys((table,))}
    assert documented().keys() == top | inner


VALUES = [
    pytest.param(table, key, default.strip("`"), id=f"{table}.{key}")
    for (table, key), default in documented().items()
    if default.startswith("`") and default.endswith("`") and default.count("`") == 2
]


@pytest.mark.parametrize(("table", "key", "written"), VALUES)
def test_a_documented_default_is_the_default(table: str, key: str, written: str) -> None:
    model: Any = File
    if table:
        annotation = File.model_fields[table].annotation
        model = next(m for m in _models(annotation))
    field = model.model_fields[key]
    raw = tomllib.loads(f"x = {written}")["x"]
    adapter: TypeAdapter[Any] = TypeAdapter(_whole(field))
    assert adapter.validate_python(raw, strict=None) == field.default


def _whole(field: Any) -> Any:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _models(annotation: Any) -> list[Any]:
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def test_examples_of_the_page_are_good() -> None:
    examples = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
    assert examples
    for example in examples:
        parse(example.encode(), "edgerelay.toml")
