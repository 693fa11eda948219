"""Programs that `.ci/run` unpacks, because Debian lets no second MTA be installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path("/usr/local/lib/edgerelay-e2e")


def unpacked(path: str) -> Path:
    """Where ``path`` of a package is. Skips the test if it is not there; in CI, fails it."""
    found = ROOT / path
    if not found.exists():
        message = f"{found} is missing (see .ci/run)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found
