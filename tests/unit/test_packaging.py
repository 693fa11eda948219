"""What is installed is what was meant: version, commands, and both packages with their types."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import edgerelay

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_written_once() -> None:
    assert importlib.metadata.version("edgerelay") == edgerelay.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", edgerelay.__version__)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]


def test_the_command_is_installed() -> None:
    [command] = importlib.metadata.entry_points(group="console_scripts", name="edgerelay")
    assert command.value == "edgerelay.cli:main"
    assert callable(command.load())


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["serve", "--help"]])
def test_the_module_runs_as_a_program(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgerelay", *arguments], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "edgerelay" in done.stdout


def test_the_wheel_holds_both_packages_and_nothing_else(tmp_path: Path) -> None:
    program = "import sys, hatchling.build;print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "edgerelay",
        "edgerelay_policies",
    }
    assert {"edgerelay/py.typed", "edgerelay_policies/py.typed"} <= set(names)
    in_tree = {str(p.relative_to(ROOT)) for p in (ROOT / "edgerelay").rglob("*.py")}
    assert in_tree <= set(names)


def test_what_is_imported_is_declared() -> None:
    """Each third-party import of the package is among its dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=\[ ]", d)[0].lower() for d in project["dependencies"]}
    declared |= {
        re.split(r"[<>=\[ ]", d)[0].lower() for d in project["optional-dependencies"]["test"]
    }
    distributions = importlib.metadata.packages_distributions()
    imported = set()
    for path in (ROOT / "edgerelay").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    third_party = imported - sys.stdlib_module_names - {"edgerelay", "edgerelay_policies"}
    third_party.discard("pydantic_core")  # a part of pydantic, pinned by it
    for name in third_party:
        assert {d.lower() for d in distributions.get(name, [])} & declared, f"{name} is undeclared"
