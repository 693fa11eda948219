"""Each bundled policy has a page, and the page's table has each option with its default."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from edgerelay.pipeline.loading import installed, policy_class, problems, read_options
from edgerelay.pipeline.settings import PolicySettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.stem: path for path in sorted((ROOT / "docs/policies").glob("*.md"))}
BUNDLED = sorted(
    name for name, point in installed().items() if point.value.startswith("edgerelay_policies.")
)


def options_on(page: Path) -> dict[str, str]:
    """The table whose head is ``option | default | meaning``: options and what they default to,
    as TOML, "" where one must be given."""
    table = re.search(
        r"^\| option \| default \| meaning \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", page.read_text(), re.M
    )
    if table is None:
        return {}
    rows = [[cell.strip() for cell in row.split(" | ")] for row in table[1].splitlines()]
    assert all(len(row) == 3 and row[2].strip("| ") for row in rows), "an option without meaning"
    return {row[0].strip("| `"): row[1].strip("`") for row in rows}


def test_every_bundled_policy_has_a_page_and_no_page_is_left_over() -> None:
    assert list(PAGES) == BUNDLED


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_headed_by_the_policys_name(name: str) -> None:
    assert PAGES[name].read_text().startswith(f"# {name}\n")


@pytest.mark.parametrize("name", PAGES)
def test_the_table_of_a_page_is_the_policys_options(name: str) -> None:
    kind = policy_class(name)
    written = options_on(PAGES[name])
    fields = dataclasses.fields(kind.options_type)
    assert list(written) == [field.name for field in fields]
    given = tomllib.loads(
        "".join(f"{option} = {default}\n" for option, default in written.items() if default)
    )
    assert not problems([PolicySettings(name, name, options=given)])
    for field in fields:
        has_default = field.default is not dataclasses.MISSING or (
            field.default_factory is not dataclasses.MISSING
        )
        assert has_default == (field.name in given), f"{field.name} must be given or need not be"
    if all(field.name in given for field in fields):
        assert read_options(kind, given) == kind.options_type(), (
            "a default on the page is not the code's"
        )
