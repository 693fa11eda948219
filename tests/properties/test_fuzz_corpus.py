"""The octets that the fuzzers begin with, through the checks that they try to break."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FUZZ = Path(__file__).parents[2] / "contrib/fuzz"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_checks", FUZZ / "checks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECKS = load().CHECKS


@pytest.mark.parametrize("target", sorted(CHECKS))
def test_the_corpus_breaks_nothing(target: str) -> None:
    seeds = sorted((FUZZ / "corpus" / target).iterdir())
    assert seeds, "a fuzzer without seeds learns little"
    for seed in seeds:
        CHECKS[target](seed.read_bytes())
