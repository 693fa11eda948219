"""Messages that are built, and signed with test keys, are what dkimpy verifies."""

from __future__ import annotations

from collections.abc import Callable

import dkim
import pytest

from edgerelay.testing.literal_dns import Fault, Zone
from edgerelay.testing.messages import TEST_KEYS, build_message, dkim_records, sign


def strings(zone: Zone) -> tuple[bytes, ...]:
    """Those of the only record."""
    ((record,),) = (list(records) for records in zone.values() if not isinstance(records, Fault))
    assert isinstance(record, tuple)
    return record


def reader(zone: Zone) -> Callable[..., bytes]:
    def read(name: bytes, timeout: float = 0) -> bytes:
        assert (name.decode().removesuffix("."), "TXT") in zone
        return b"".join(strings(zone))

    return read


def test_a_message_is_built_as_asked() -> None:
    message = build_message(subject="", fields=[("X-Odd", "1")], body="a\nb\r\n")
    header, _, body = message.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in header.split(b"\r\n")]
    assert names == [b"From", b"To", b"Date", b"Message-ID", b"X-Odd"]
    assert body == b"a\r\nb\r\n"
    assert build_message(body=b"\x00\n").endswith(b"\r\n\r\n\x00\n")


@pytest.mark.parametrize("name", TEST_KEYS)
@pytest.mark.parametrize("form", ["simple/simple", "relaxed/relaxed"])
def test_a_signed_message_verifies(name: str, form: str) -> None:
    key = TEST_KEYS[name]
    message = sign(build_message(), "sender.example", "s", key, canonicalization=form)
    zone = dkim_records("sender.example", "s", key)
    assert dkim.DKIM(message).verify(dnsfunc=reader(zone))
    assert not dkim.DKIM(message.replace(b"A mess", b"B mess")).verify(dnsfunc=reader(zone))


def test_tags_are_as_asked() -> None:
    key = TEST_KEYS["ed25519"]
    message = sign(
        build_message(),
        "sender.example",
        "s",
        key,
        names=["from", "to"],
        length=5,
        timestamp=1_700_000_000,
        tags={"x": "1700000100", "v": "2"},
    )
    field = message[: message.index(b"\r\nFrom:")].replace(b"\r\n", b"")
    for tag in (b"v=2;", b"l=5;", b"t=1700000000;", b"h=from : to;", b"x=1700000100;"):
        assert tag in field


def test_a_key_is_published_in_strings_that_fit() -> None:
    zone = dkim_records("sender.example", "s", TEST_KEYS["rsa-2048"], more="t=y; ")
    assert list(zone) == [("s._domainkey.sender.example", "TXT")]
    found = strings(zone)
    assert b"".join(found).startswith(b"v=DKIM1; k=rsa; t=y; p=MII")
    assert len(found) == 2
    assert all(len(string) <= 255 for string in found)
