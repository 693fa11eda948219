"""A body has the hash that dkimpy gives it, however it is cut into pieces."""

from __future__ import annotations

import hashlib
import tracemalloc
from typing import Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerelay_policies.dkim.body import BodyHashes
from edgerelay_policies.dkim.signature import Canonicalization
from tests.policies import dkimpy_as_shipped as original

CANONICAL: Final = {
    "simple": original.canonicalization.Simple.canonicalize_body,
    "relaxed": original.canonicalization.Relaxed.canonicalize_body,
}
piece = st.lists(
    st.sampled_from([b" ", b"\t", b"  ", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"x", b"yz"]),
    max_size=12,
).map(b"".join)
lengths = st.none() | st.integers(0, 40)


@given(st.lists(piece | st.binary(max_size=4), max_size=8), lengths)
def test_it_is_dkimpys_however_it_is_cut(pieces: list[bytes], length: int | None) -> None:
    names = get_args(Canonicalization)
    hashes = BodyHashes([*((name, length) for name in names), *((name, None) for name in names)])
    for octets in pieces:
        hashes.update(octets)
    hashes.finish()
    for name in names:
        wanted = CANONICAL[name](b"".join(pieces))
        assert hashes.size(name) == len(wanted)
        assert hashes.digest(name, None) == hashlib.sha256(wanted).digest()
        assert hashes.digest(name, length) == hashlib.sha256(wanted[:length]).digest()


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n", b""),
        (b" \r\n", b" \r\n", b""),
        (b"x", b"x\r\n", b"x\r\n"),
        # The example of RFC 6376 section 3.4.5, and how it looks in each form.
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),
    ],
)
def test_the_forms_of_a_body(body: bytes, simple: bytes, relaxed: bytes) -> None:
    hashes = BodyHashes([("simple", None), ("relaxed", None)])
    hashes.update(body)
    hashes.finish()
    assert hashes.digest("simple", None) == hashlib.sha256(simple).digest()
    assert hashes.digest("relaxed", None) == hashlib.sha256(relaxed).digest()


@pytest.mark.parametrize("octets", [b"\r\n" * 32768, b" " * 65536, b" \t\r\n" * 16384])
def test_nothing_grows_with_the_body(octets: bytes) -> None:
    """64 MiB of what may all be its end, then a word after it."""
    hashes = BodyHashes([("simple", None), ("relaxed", None), ("relaxed", 10)])
    tracemalloc.start()
    try:
        for _ in range(1024):
            hashes.update(octets)
        hashes.update(b"x")
        hashes.finish()
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()
    assert hashes.size("simple") == 1024 * len(octets) + 3
