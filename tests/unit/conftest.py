"""Policies of a third party, installed for the time of a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgerelay.pipeline import loading
from tests.policy_distribution import MODULE, install


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The policies of `tests.policy_distribution`, beside those that are installed anyway."""
    install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    loading.installed.cache_clear()
    yield
    sys.modules.pop(MODULE, None)
    loading.installed.cache_clear()
