"""Addresses are text; only domains are compared."""

from __future__ import annotations

import pytest

from edgerelay.mail.address import (
    NULL_REVERSE_PATH,
    ForwardPath,
    Mailbox,
    ReversePath,
    domain_key,
)


@pytest.mark.parametrize(
    ("domain", "key"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"),
        ("\u00ad\u200b.Example", "\u00ad\u200b.example"),  # IDNA refuses it
    ],
)
def test_the_key_of_a_domain(domain: str, key: str) -> None:
    assert domain_key(domain) == key


def test_the_domain_ignores_case_and_the_local_part_does_not() -> None:
    """RFC 5321 section 2.4."""
    mailbox = Mailbox("Local", "Example.com")
    assert mailbox.same_as(Mailbox("Local", "EXAMPLE.com"))
    assert not mailbox.same_as(Mailbox("local", "example.com"))
    assert mailbox != Mailbox("Local", "EXAMPLE.com")


def test_a_mailbox_from_trusted_text() -> None:
    assert Mailbox.from_text('"a@b"@c.example') == Mailbox('"a@b"', "c.example")
    assert str(Mailbox.from_text("a@b.example")) == "a@b.example"


@pytest.mark.parametrize("text", ["", "a", "@b", "a@", "a\r@b", "a@b\n", "a@b\x7f"])
def test_what_is_no_mailbox(text: str) -> None:
    with pytest.raises(ValueError, match="not a mailbox"):
        Mailbox.from_text(text)


def test_paths() -> None:
    mailbox = Mailbox("a", "b.example")
    assert str(ReversePath(mailbox)) == "<a@b.example>"
    assert str(ForwardPath(mailbox)) == "<a@b.example>"
    assert str(NULL_REVERSE_PATH) == "<>"
    assert NULL_REVERSE_PATH.is_null
    assert not ReversePath(mailbox).is_null


def test_who_needs_smtputf8() -> None:
    assert Mailbox("a", "b.example").is_ascii
    assert not Mailbox("ä", "b.example").is_ascii
    assert not Mailbox("a", "bücher.example").is_ascii
