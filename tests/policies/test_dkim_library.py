"""What is replaced in dkimpy gives what the original gives, and takes no longer than it must."""

from __future__ import annotations

import base64
from contextlib import suppress

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerelay.policy import HeaderField
from edgerelay_policies.dkim import library
from edgerelay_policies.dkim.refusal import Refused
from tests.policies import dkimpy_as_shipped as original
from tests.policies.dkim_support import KEY, RSA

pieces = st.sampled_from(
    [
        b" ",
        b"  ",
        b"\t",
        b"\r\n",
        b"\r",
        b"\n",
        b"x",
        b"b",
        b"=",
        b";",
        b" b=",
        b"\r\n b = ",
        b"+/",
    ]
)
text = st.lists(pieces | st.binary(max_size=3), max_size=40).map(b"".join)


def test_the_copy_is_the_original() -> None:
    assert original.canonicalization.compress_whitespace is not library.compress_whitespace
    assert original.package.RE_BTAG is not library.RE_BTAG
    assert dkim.RE_BTAG is library.RE_BTAG


@given(text)
def test_white_space_is_the_originals(content: bytes) -> None:
    theirs = original.canonicalization
    assert library.compress_whitespace(content) == theirs.compress_whitespace(content)
    assert library.unfold_header_value(content) == theirs.unfold_header_value(content)
    assert library.strip_trailing_whitespace(content) == theirs.compress_whitespace(
        theirs.strip_trailing_whitespace(content)
    )


@given(text)
def test_a_signature_is_left_out_as_by_the_original(value: bytes) -> None:
    wanted = original.package.RE_BTAG.sub(b"\\1", value)
    assert library.RE_BTAG.sub(b"\\1", value) == wanted


@given(st.binary(max_size=600), st.integers(0, 8))
def test_numbers_are_the_originals(octets: bytes, padding: int) -> None:
    number = library.str2int(octets)
    assert number == original.crypto.str2int(octets)
    assert library.int2str(number) == original.crypto.int2str(number)
    length = len(octets) + padding
    assert library.int2str(number, length) == original.crypto.int2str(number, length)


@pytest.mark.parametrize(
    ("octets", "wanted"),
    [
        (b" " * 1_000_000, b" "),
        (b" \t" * 500_000 + b"x", b" x"),
        ((b" " * 990 + b"\r\n") * 1000, b"\r\n" * 1000),
        (b"".join(b" " * n + b"x" for n in range(1400)), b"x" + b" x" * 1399),
    ],
)
def test_a_megabyte_of_white_space_ends(octets: bytes, wanted: bytes) -> None:
    """The original would be at it for half an hour."""
    assert library.strip_trailing_whitespace(octets) == wanted
    assert library.RE_BTAG.sub(b"\\1", octets) == octets


fields = st.lists(st.sampled_from(["from", "to", "subject", "received", "x"]), max_size=12)


@given(fields, fields)
def test_fields_are_chosen_as_by_the_original(present: list[str], names: list[str]) -> None:
    header = [
        HeaderField(name, f"{name}: {number}\r\n".encode(), number)
        for number, name in enumerate(present)
    ]
    pairs = [(field.name, field) for field in header]
    wanted = [field for _, field in original.package.select_headers(pairs, names)]
    assert library.choose(header, names) == wanted


def test_keys_are_read() -> None:
    rsa = library.public_key(b"rsa", RSA.public.encode())
    assert (rsa.key_type, rsa.bits, rsa.exponent) == ("rsa", 2048, 65537)
    assert library.public_key(b"ed25519", KEY.public.encode()).key_type == "ed25519"


@pytest.mark.parametrize(
    ("key_type", "p"),
    [
        (b"rsa", b"AAAA"),
        (b"rsa", b"MII"),
        (b"rsa", b"!!!!"),
        (b"rsa", KEY.public.encode()),
        (b"ed25519", RSA.public.encode()),
        (b"ed25519", b"AAAA"),
        (b"dsa", RSA.public.encode()),
        (b"", RSA.public.encode()),
        (b"rsa", b"\xff"),
    ],
)
def test_what_is_no_key_is_refused(key_type: bytes, p: bytes) -> None:
    with pytest.raises(Refused, match="key is not valid"):
        library.public_key(key_type, p)


@given(st.binary(max_size=80))
def test_no_octets_break_the_reader_of_keys(octets: bytes) -> None:
    with suppress(Refused):
        library.public_key(b"rsa", base64.b64encode(octets))
