"""A key has a bound in octets, whatever its characters."""

from __future__ import annotations

import pytest

from edgerelay.tables.api import KEY_LIMIT, check_key


@pytest.mark.parametrize("key", ["", "k" * KEY_LIMIT, "é" * (KEY_LIMIT // 2), "\U0001f4e7" * 256])
def test_a_key_within_the_limit(key: str) -> None:
    assert check_key(key) is key


@pytest.mark.parametrize(
    "key", ["k" * (KEY_LIMIT + 1), "é" * (KEY_LIMIT // 2 + 1), "\U0001f4e7" * 257, "\ud800" * 400]
)
def test_a_key_over_the_limit(key: str) -> None:
    with pytest.raises(ValueError, match="a table's key of"):
        check_key(key)
