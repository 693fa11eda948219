"""What the test kit exports is there, and costs nothing before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edgerelay.testing


@pytest.mark.parametrize("name", edgerelay.testing.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(edgerelay.testing, name)
    assert not isinstance(value, type(sys)), f"{name} is a module"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        edgerelay.testing.nonsense  # noqa: B018 - asking for it is the test


def test_importing_it_loads_nothing_of_the_relay() -> None:
    program = "import sys, edgerelay.testing; print('edgerelay.edge' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
