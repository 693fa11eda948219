"""The tree keeps its own rules: tests mirror the package, modules introduce themselves, and
every RFC that the code cites is in the table of what we follow."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "edgerelay"

#: Modules without a test file of their own, and where they are tested instead.
TESTED_ELSEWHERE = {
    "assembly.py": "tests/unit/testing: every test of the relay harness stands on it",
    "cli/reload.py": "tests/e2e/test_reload.py: it asks a relay that runs",
    "edge/boundary.py": "types only",
    "edge/commands.py": "tests/unit/edge/test_session.py, test_policing.py: conversations",
    "edge/settings.py": "tests/unit/config: plain values",
    "ground.py": "tests/e2e: processes and sockets",
    "net/transport.py": "tests/contracts: edgerelay.testing.check_transport",
    "observe/events.py": "tests/unit/observe/test_log.py: types only",
    "pipeline/records.py": "tests/unit/pipeline/test_asking.py: types only",
    "pipeline/settings.py": "tests/unit/config: plain values",
    "policy/base.py": "tests/unit/pipeline: what it declares is what they ask",
    "policy/evidence.py": "tests/unit/policy/test_results.py: types only",
    "policy/services.py": "types only",
    "policy/views.py": "tests/unit/pipeline/test_conversation.py: types only",
    "relay/settings.py": "tests/unit/config: plain values",
    "spool/api.py": "tests/contracts: edgerelay.testing.check_spool",
    "supervisor/crew.py": "tests/e2e/test_reload.py: processes",
    "supervisor/serving.py": "tests/e2e: processes, signals and sockets",
}

OF_THE_WHOLE_TREE = {"test_docs.py", "test_layout.py", "test_packaging.py"}

RFC = re.compile(r"\bRFC (\d+)(?: section (\d+(?:\.\d+)*))?")


class Citation(NamedTuple):
    rfc: str
    section: str  # "" if none is named
    where: str


class Row(NamedTuple):
    rfc: str
    section: str
    subject: str
    how_far: str
    note: str


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def citations() -> Iterator[Citation]:
    for path in [*modules(), *sorted((ROOT / "policies").rglob("*.py"))]:
        # a citation may be broken over two comment or docstring lines
        text = re.sub(r"\n\s*(?:#:? ?)?", " ", path.read_text())
        for match in RFC.finditer(text):
            yield Citation(match[1], match[2] or "", str(path.relative_to(ROOT)))


def table() -> list[Row]:
    with (ROOT / "docs/rfc.tsv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert rows[0] == ["rfc", "section", "subject", "how far", "note"]
    return [Row(*row) for row in rows[1:]]


def mirrors(module: Path) -> list[Path]:
    """The names a module's test file may have: ``spool/test_records.py``, or with its package
    in front where the bare name would say too little: ``spool/test_spool_records.py``."""
    folder = ROOT / "tests/unit" / module.parent
    if module.name == "__init__.py":
        return [folder / f"test_{module.parent.name}.py"]
    return [folder / f"test_{module.name}", folder / f"test_{module.parent.name}_{module.name}"]


def covers(row: Row, citation: Citation) -> bool:
    """A row speaks for its section and those below it; an empty section for all of the RFC.

    A citation of a whole RFC is content with any of its rows.
    """
    if row.rfc != citation.rfc:
        return False
    return (
        not (row.section and citation.section)
        or citation.section == row.section
        or citation.section.startswith(row.section + ".")
    )


@pytest.mark.parametrize(
    "path", [p for p in modules() if p.name not in ("__init__.py", "__main__.py")], ids=str
)
def test_every_module_has_its_test_file(path: Path) -> None:
    module = path.relative_to(PACKAGE)
    if module.parts[0] == "testing" or str(module) in TESTED_ELSEWHERE:
        return  # the test kit is exercised by every test and has its contracts
    assert any(mirror.exists() for mirror in mirrors(module)), f"{module} has no test file"


def test_the_list_of_exceptions_is_no_longer_than_it_must_be() -> None:
    for module in TESTED_ELSEWHERE:
        assert (PACKAGE / module).exists(), f"{module} is gone"
        for mirror in mirrors(Path(module)):
            assert not mirror.exists(), f"{module} has a test file now"


def test_no_test_file_outlives_its_module() -> None:
    expected = {mirror for path in modules() for mirror in mirrors(path.relative_to(PACKAGE))}
    for path in (ROOT / "tests/unit").rglob("test_*.py"):
        of_all = path.parent.name == "unit" and path.name in OF_THE_WHOLE_TREE
        of_a_package = path.name.startswith(f"test_{path.parent.name}_")
        assert of_all or of_a_package or path in expected, f"{path} tests nothing"


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_module_opens_with_one_sentence(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{path} says nothing of itself"
    first = docstring.splitlines()[0]
    assert first.endswith((".", "?")), first
    assert len(first) <= 99 - len('"""')


def test_every_ignore_carries_a_code() -> None:
    loose = re.compile(r"#\s*(?:noqa(?!:)|type:\s*ignore(?!\[))")
    for path in [*modules(), *(ROOT / "tests").rglob("*.py")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert path.name == "test_layout.py" or not loose.search(line), f"{path}:{number}"


def test_every_cited_rfc_is_in_the_table() -> None:
    rows = table()
    unknown = {c for c in citations() if not any(covers(row, c) for row in rows)}
    assert not unknown, sorted(unknown)


def test_every_row_that_says_yes_is_cited() -> None:
    found = list(citations())
    for row in table():
        assert row.how_far in ("yes", "partly", "no"), row
        assert row.subject, row
        if row.how_far == "yes":
            assert any(covers(row, citation) for citation in found), row


def test_the_table_is_sorted_and_says_everything_once() -> None:
    keys = [(int(row.rfc), [int(n) for n in row.section.split(".") if n]) for row in table()]
    assert keys == sorted(keys)
    assert len({str(key) for key in keys}) == len(keys)


def test_files_stay_short() -> None:
    """Half of them are read in one sitting, and none is a labyrinth."""
    lengths = sorted((len(path.read_text().splitlines()), path) for path in modules())
    sources = [(length, path) for length, path in lengths if path.name != "__init__.py"]
    assert sources[len(sources) // 2][0] <= 150
    assert sources[-1][0] <= 600, sources[-1]
