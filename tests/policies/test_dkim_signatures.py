"""What a signature and its key must be to be verified, and what is said of those that are not."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerelay.policy import DkimSignature, HeaderField
from edgerelay.testing.literal_dns import Zone
from edgerelay.testing.messages import SigningKey, build_message, dkim_records, sign
from edgerelay_policies.dkim.library import public_key
from edgerelay_policies.dkim.signature import Signature, read_signature
from tests.policies.dkim_support import (
    KEY,
    KEY_NAME,
    NOW,
    RSA,
    ask,
    in_words,
    record,
    signed,
    zone_of,
)


@pytest.mark.parametrize("key", [KEY, RSA], ids=lambda key: key.kind)
@pytest.mark.parametrize("header", ["simple", "relaxed"])
@pytest.mark.parametrize("body", ["simple", "relaxed"])
async def test_a_signed_message_passes(key: SigningKey, header: str, body: str) -> None:
    odd = build_message(
        fields=[("X-Folded", "a\r\n\t b  c \r\n  d"), ("X-Empty", " ")],
        body="  two  spaces \n\ttab\t\n\n\n",
    )
    said = await ask(signed(odd, key, canonicalization=f"{header}/{body}"), zone_of(key))
    assert said.words == ["pass"]


async def test_what_is_told_of_a_signature() -> None:
    said = await ask(signed(tags={"i": "ann@Mail.sender.example"}))
    (told,) = said.result.signatures
    assert told.domain == "sender.example"
    assert told.selector == "s1"
    assert told.identity == "ann@Mail.sender.example"
    assert told.algorithm == "ed25519-sha256"
    assert len(told.signature) == 8
    (result,) = said.result.authentication_results
    assert dict(result.properties) == {
        "header.d": "sender.example",
        "header.i": "ann@Mail.sender.example",
        "header.s": "s1",
        "header.a": "ed25519-sha256",
        "header.b": told.signature,
    }


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"v": "2"}, "permerror unknown version"),
        ({"a": "rsa-sha1"}, "permerror rsa-sha1 is obsolete"),  # RFC 8301 section 3.1
        ({"a": "dsa-sha256"}, "permerror unknown algorithm"),
        ({"a": "rsa-sha256"}, "permerror key is of another type than a="),
        ({"c": "relaxed/strict"}, "permerror unknown canonicalization"),
        ({"c": "relaxed/relaxed/x"}, "permerror unknown canonicalization"),
        ({"q": "https"}, "permerror unknown query method"),
        ({"q": "https:dns/txt"}, "pass"),
        ({"d": "sender"}, "permerror d= is not valid"),
        ({"d": "sender..example"}, "permerror d= is not valid"),
        ({"d": "x(y.example"}, "permerror d= is not valid"),
        ({"d": "x" * 64 + ".example"}, "permerror d= is not valid"),
        ({"d": "\u0378.example"}, "permerror d= is not valid"),
        ({"s": "s" * 64}, "permerror s= is not valid"),
        ({"s": "s/1"}, "permerror s= is not valid"),
        ({"s": "none"}, "permerror no key for signature"),
        ({"i": "@sender.example"}, "pass"),
        ({"i": "x@deep.sender.example"}, "pass"),
        ({"i": "sender.example"}, "permerror i= has no domain"),
        ({"i": "@example"}, "permerror i= is not under d="),
        ({"i": "@badsender.example"}, "permerror i= is not under d="),
        ({"i": "@"}, "permerror i= is not valid"),
        ({"h": "to:subject"}, "permerror From field not signed"),
        ({"h": "from:a b"}, "permerror h= is no list of names"),
        ({"h": "from::to"}, "permerror h= is no list of names"),
        ({"h": ""}, "permerror From field not signed"),
        ({"h": ":".join(["from", "x"] * 200)}, "policy over 256 names in h="),
        ({"bh": "AAAA"}, "permerror bh= is no SHA-256"),
        ({"bh": "*"}, "permerror bh= is not base64"),
        ({"bh": "A" * 43}, "permerror bh= is not base64"),
        ({"bh": base64.b64encode(b"x" * 32).decode()}, "fail body hash did not verify"),
        ({"l": ""}, "permerror l= is no number"),
        ({"l": "-1"}, "permerror l= is no number"),
        ({"l": "9" * 77}, "permerror l= is no number"),
        ({"l": "9" * 40}, "permerror l= is more than the body"),
        ({"t": "soon"}, "permerror t= is no number"),
        ({"t": "1" * 5000}, "permerror t= is no number"),
        ({"t": str(int(NOW) + 10**6)}, "pass"),
        ({"x": "1" * 13}, "permerror x= is no number"),
        ({"x": "\u0661"}, "permerror x= is no number"),
        ({"x": str(int(NOW) + 1)}, "pass"),
        ({"x": str(int(NOW) - 299)}, "pass"),  # clocks differ
        ({"x": str(int(NOW) - 301)}, "policy signature expired"),
        ({"t": "1700000000", "x": "1700000000"}, "permerror x= is not after t="),
        ({"unknown": "x"}, "pass"),
        ({"z": "From:x|b=3D"}, "pass"),
        ({"9": "x"}, "permerror not a tag list"),
        ({"": "x"}, "permerror not a tag list"),
    ],
)
async def test_each_tag_is_checked(tags: dict[str, str], words: str) -> None:
    said = await ask(signed(tags=tags))
    assert said.words == [words]


@pytest.mark.parametrize("name", ["v", "a", "d", "s", "h", "bh", "b"])
async def test_a_required_tag_is_missed(name: str) -> None:
    message = signed().replace(f" {name}=".encode(), f" x{name}=".encode(), 1)
    assert (await ask(message)).words == [f"permerror no {name}="]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (b"v=1; v=1", "permerror v= twice"),
        (b"v=1;; a=x", "permerror not a tag list"),
        (b"", "permerror no v="),
        (b"v=1; b=" + b"A" * 9000, "policy signature field too long"),
        (b"z= b" + b"\r\n " * 2000 + b"; v=1", "permerror no a="),
        (b"v=1; h=from" + b" " * 8000 + b":to", "permerror no a="),
        (b"\xff\xfe=\x00", "permerror not a tag list"),
    ],
)
async def test_what_is_no_signature_is_an_error(field: bytes, words: str) -> None:
    said = await ask(b"DKIM-Signature: " + field + b"\r\n" + build_message())
    assert said.words == [words]


async def test_a_domain_may_be_written_in_its_own_script() -> None:
    """RFC 8616 section 5; it is shown, and asked for, in A-labels."""
    message = sign(build_message(), "b\u00fccher.example", "s1", KEY)
    said = await ask(message, dkim_records("xn--bcher-kva.example", "s1", KEY))
    assert said.words == ["pass"]
    assert said.result.signatures[0].domain == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((b"Subject: A", b"Subject: B"), "fail signature did not verify"),
        ((b"Subject: A", b"SUBJECT :  A"), "pass"),  # relaxed
        ((b"this is", b"this  is"), "pass"),
        ((b"this is", b"that is"), "fail body hash did not verify"),
        ((b"\r\n\r\nHello", b"\r\nX-Not-Signed: x\r\n\r\nHello"), "pass"),
        ((b"\r\n\r\nHello", b"\r\nFrom: eve@x.example\r\n\r\nHello"), "from"),
        ((b"\r\nFrom: Ann", b"\r\nFrom: eve@x.example\r\nFrom: Ann"), "from"),
        ((b"\r\nFrom: Ann", b"\r\nX: Ann"), "permerror no From field"),
    ],
)
async def test_a_message_that_was_changed(change: tuple[bytes, bytes], words: str) -> None:
    message = signed(names=["from", "to", "subject"])
    assert message.count(change[0]) == 1
    wanted = "permerror more than one From field" if words == "from" else words
    assert (await ask(message.replace(*change))).words == [wanted]


async def test_what_is_signed_once_more_cannot_be_added() -> None:
    message = signed(names=["from", "subject", "subject", "list-id"])
    assert (await ask(message)).words == ["pass"]
    for added in (b"Subject: another\r\n", b"List-Id: <x>\r\n"):
        said = await ask(added + message)
        assert said.words == ["fail signature did not verify"]


async def test_the_last_field_of_a_name_is_signed_first() -> None:
    """RFC 6376 section 5.4.2: what is put on top later is not the signed one."""
    message = signed(names=["from", "received"])
    below = signed(b"Received: one\r\n" + build_message(), names=["from", "received"])
    assert (await ask(b"Received: two\r\n" + below)).words == ["pass"]
    assert (await ask(b"Received: two\r\n" + message)).words == ["fail signature did not verify"]


@pytest.mark.parametrize("header", ["simple", "relaxed"])
async def test_a_name_with_space_before_its_colon_is_that_field(header: str) -> None:
    message = signed(names=["from", "subject"], canonicalization=f"{header}/simple")
    changed = message.replace(b"Subject:", b"Subject :")
    wanted = "pass" if header == "relaxed" else "fail signature did not verify"
    assert (await ask(changed)).words == [wanted]


async def test_simple_takes_a_header_as_it_is() -> None:
    message = signed(names=["from", "subject"], canonicalization="simple/simple")
    assert (await ask(message)).words == ["pass"]
    changed = message.replace(b"Subject: A message", b"Subject:  A message")
    assert (await ask(changed)).words == ["fail signature did not verify"]


async def test_what_l_leaves_out_is_counted() -> None:
    message = signed(length=12) + b"and more\r\n"
    said = await ask(message)
    assert said.words == ["pass"]
    unsigned = len(b"Hello Bob,\r\n\r\nthis is a message.\r\nand more\r\n") - 12
    assert said.result.signatures[0].unsigned == unsigned
    (result,) = said.result.authentication_results
    assert result.comment == f"{unsigned} octets of the body not signed"
    assert (await ask(signed(length=0))).words == ["pass"]
    assert (await ask(signed() + b"and more\r\n")).words == ["fail body hash did not verify"]
    strict = await ask(message, allow_unsigned_body=False)
    assert strict.words == ["policy body not all signed"]


ED = f"k=ed25519; p={KEY.public}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ED, "pass"),
        (f"v=DKIM1; {ED}", "pass"),
        (f"v=DKIM1;{ED} ; n=a note", "pass"),
        (f"{ED}; v=DKIM1", "permerror key record is not valid"),  # it must be the first
        (f"v=DKIM2; {ED}", "permerror key record is not valid"),
        ("v=DKIM1; k=ed25519", "permerror key record is not valid"),
        ("v=spf1 -all", "permerror key record is not valid"),
        ("", "permerror key record is not valid"),
        ("v=DKIM1; p=", "permerror key revoked"),
        ("v=DKIM1; k=ed25519; p=AAAA", "permerror key is not valid"),
        (f"v=DKIM1; k=x25519; p={KEY.public}", "permerror key is not valid"),
        (f"p={RSA.public}", "permerror key is of another type than a="),
        (f"{ED}; h=sha1", "permerror key forbids SHA-256"),
        (f"{ED}; h=sha1 : sha256", "pass"),
        (f"{ED}; s=other", "permerror key is not for email"),
        (f"{ED}; s=other:email", "pass"),
        (f"{ED}; s=*", "pass"),
        (f"{ED}; t=s", "pass"),
        (f"{ED}; n=" + "x" * 5000, "permerror key record is not valid"),
    ],
)
async def test_each_tag_of_a_key_is_checked(text: str, words: str) -> None:
    assert (await ask(signed(), record(text))).words == [words]


async def test_a_strict_key_wants_the_domain_itself() -> None:
    message = signed(tags={"i": "ann@mail.sender.example"})
    assert (await ask(message)).words == ["pass"]
    said = await ask(message, zone_of(more="t=y:s; "))
    assert said.words == ["permerror i= is below d=, which the key forbids"]


async def test_a_testing_key_is_told() -> None:
    said = await ask(signed(), zone_of(more="t=y; "))
    assert said.words == ["pass"]
    assert said.result.signatures[0].is_testing
    assert said.result.authentication_results[0].comment == "test mode"


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (["v=spf1 -all", "google-site-verification=abc"], "pass"),
        ([ED], "permerror several keys for signature"),
        (["p="], "permerror several keys for signature"),
        (["not a key"] * 20, "permerror key record is not valid"),  # only ten are looked at
    ],
)
async def test_of_several_records_one_must_be_the_key(others: list[str], words: str) -> None:
    """RFC 6376 section 3.6.2.2: what comes first is chance."""
    zone: Zone = {(KEY_NAME, "TXT"): [(text.encode(),) for text in [*others, ED]]}
    assert (await ask(signed(), zone)).words == [words]


def der(*parts: int) -> str:
    """An RSA public key of any numbers, as PKCS#1."""

    def field(tag: int, octets: bytes) -> bytes:
        length = len(octets).to_bytes(2, "big")
        return bytes([tag, 0x82]) + length + octets

    numbers = (part.to_bytes(part.bit_length() // 8 + 1, "big") for part in parts)
    content = b"".join(field(2, number) for number in numbers)
    return base64.b64encode(field(0x30, content)).decode()


@pytest.mark.parametrize(
    ("bits", "exponent", "least", "words"),
    [
        (512, 65537, 1024, "permerror RSA key of 512 bits"),  # RFC 8301 section 3.2
        (1023, 65537, 1024, "permerror RSA key of 1023 bits"),
        (1024, 65537, 1024, "fail signature did not verify"),
        (1024, 65537, 2048, "policy RSA key of 1024 bits"),
        (4096, 65537, 1024, "fail signature did not verify"),
        (4097, 65537, 1024, "policy RSA key of 4097 bits"),
        (2048, 2**32 + 1, 1024, "policy RSA exponent too large"),
    ],
)
async def test_the_size_of_an_rsa_key(bits: int, exponent: int, least: int, words: str) -> None:
    modulus = int.from_bytes(hashlib.shake_128(b"any").digest(bits // 8 + 1), "big")
    modulus = modulus % 2 ** (bits - 1) | 2 ** (bits - 1) | 1
    zone = record(f"v=DKIM1; p={der(modulus, exponent)}")
    message = signed(key=RSA)
    assert (await ask(message, zone, min_rsa_bits=least)).words == [words]


async def test_a_signature_is_as_long_as_its_key_and_less_than_it() -> None:
    """One plus the modulus would verify as well."""
    message = signed(key=RSA)
    field, _, rest = message.partition(b"\r\nFrom:")
    start = field.rindex(b" b=") + 3
    number = int.from_bytes(base64.b64decode(field[start:].translate(None, b" \r\n")), "big")
    modulus = public_key(b"rsa", RSA.public.encode()).material["modulus"]
    for wrong in (
        number.to_bytes(257, "big"),
        (number + modulus).to_bytes(257, "big"),
        b"",
        b"\xff" * 256,
    ):
        changed = field[:start] + base64.b64encode(wrong) + b"\r\nFrom:" + rest
        assert (await ask(changed, zone_of(RSA))).words == ["fail signature did not verify"]
    right = field[:start] + base64.b64encode(number.to_bytes(256, "big")) + b"\r\nFrom:" + rest
    assert (await ask(right, zone_of(RSA))).words == ["pass"]


tag = st.sampled_from([*"vabcdhilqstxz", "bh"]) | st.text(max_size=2)
value = st.sampled_from(
    ["1", "rsa-sha256", "relaxed", "sender.example", "from:to", "s1", "@", "", " ", "\r\n "]
) | st.text(max_size=20)


@given(st.lists(st.tuples(tag, value), max_size=14), st.binary(max_size=20))
def test_no_field_breaks_the_reader(tags: list[tuple[str, str]], more: bytes) -> None:
    text = ";".join(f"{name}={content}" for name, content in tags)
    raw = b"DKIM-Signature:" + text.encode("utf-8", "surrogateescape") + more + b"\r\n"
    read = read_signature(HeaderField("dkim-signature", raw, 0), NOW)
    shown: Any = read.shown if isinstance(read, Signature) else read
    assert isinstance(shown, DkimSignature)
    words = (shown.domain, shown.selector, shown.identity, shown.algorithm, shown.signature)
    assert all(word.isascii() and word.isprintable() for word in (*words, in_words(shown)))
    assert sum(map(len, words)) < 1000
