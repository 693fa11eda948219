"""xtext is read as strictly as it is written."""

from __future__ import annotations

import pytest

from edgerelay.mail.xtext import decode_xtext, encode_xtext, is_xtext, utf8_addr_xtext


@pytest.mark.parametrize(
    ("text", "xtext"),
    [
        ("", ""),
        ("user@example.com", "user@example.com"),
        ("user+tag@example.com", "user+2Btag@example.com"),
        ("a=b c", "a+3Db+20c"),
        ("\r\n", "+0D+0A"),
        ("é", "+C3+A9"),
        ("!~*,-<>", "!~*,-<>"),
    ],
)
def test_there_and_back(text: str, xtext: str) -> None:
    assert encode_xtext(text) == xtext
    assert is_xtext(xtext)
    assert decode_xtext(xtext) == text


@pytest.mark.parametrize("text", ["a=b", "a b", "+", "+2", "+2b", "+zz", "é", "a\n", "a\x7f"])
def test_what_is_no_xtext(text: str) -> None:
    assert not is_xtext(text)
    with pytest.raises(ValueError, match="xtext"):
        decode_xtext(text)


def test_octets_that_are_no_utf8_are_shown() -> None:
    assert decode_xtext("+FF") == "\\xff"


def test_the_ascii_form_of_an_international_address() -> None:
    """RFC 6533 section 3."""
    assert utf8_addr_xtext("utf-8;jörg@例.example") == "utf-8;j\\x{F6}rg@\\x{4F8B}.example"
