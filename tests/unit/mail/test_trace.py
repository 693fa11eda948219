"""The Received field is one field, whatever its parts are made of."""

from __future__ import annotations

import email
import email.policy

import pytest

from edgerelay.mail.address import ForwardPath, Mailbox
from edgerelay.mail.trace import protocol_name, received_field

ONE = ForwardPath(Mailbox("b", "example.org"))


def field(**changes: object) -> bytes:
    parts: dict[str, object] = {
        "helo": "client.example",
        "client": "192.0.2.1",
        "hostname": "mx.example.org",
        "protocol": "ESMTP",
        "queue_id": "Q1",
        "now": 0.9,
    }
    return received_field(**{**parts, **changes})  # type: ignore[arg-type]  # by name, for a table


def test_all_its_parts() -> None:
    assert field(tls="TLSv1.3 X", recipient=ONE) == (
        b"Received: from client.example ([192.0.2.1])\r\n"
        b"\t(using TLSv1.3 X)\r\n"
        b"\tby mx.example.org (edgerelay) with ESMTP id Q1\r\n"
        b"\tfor <b@example.org>;\r\n"
        b"\tThu, 01 Jan 1970 00:00:00 +0000\r\n"
    )


def test_an_ipv6_client_is_an_address_literal() -> None:
    assert b"([IPv6:2001:db8::1])" in field(client="2001:db8::1")


def test_a_client_without_an_address_has_no_comment() -> None:
    assert field(client="").startswith(b"Received: from client.example\r\n\tby ")


@pytest.mark.parametrize(
    "helo", ["x) by evil (", "x\r\nFrom: evil", "<script>", 'a"b\\c', "h\u00e9", "a b"]
)
def test_a_claimed_name_cannot_leave_its_place(helo: str) -> None:
    octets = field(helo=helo)
    message = email.message_from_bytes(octets + b"\r\n", policy=email.policy.SMTP)
    assert message.keys() == ["Received"]
    assert octets.isascii()
    name = octets.split(b" ([", 1)[0].removeprefix(b"Received: from ")
    assert not set(name) & set(b' ()<>"\\\r\n')


def test_a_name_that_is_an_address_literal_stays_readable() -> None:
    assert b"from [IPv6:2001:db8::1] (" in field(helo="[IPv6:2001:db8::1]")


def test_an_address_beyond_ascii_appears_only_where_the_message_may_have_it() -> None:
    wide = ForwardPath(Mailbox("j\u00f6rg", "example.org"))
    assert b"for" not in field(recipient=wide)
    assert "for <j\u00f6rg@example.org>".encode() in field(recipient=wide, smtputf8=True)


@pytest.mark.parametrize(
    ("extended", "tls", "smtputf8", "name"),
    [
        (False, False, False, "SMTP"),
        (True, False, False, "ESMTP"),
        (True, True, False, "ESMTPS"),
        (True, False, True, "UTF8SMTP"),
        (True, True, True, "UTF8SMTPS"),
        (False, True, False, "SMTP"),
    ],
)
def test_protocols_have_registered_names(
    extended: bool, tls: bool, smtputf8: bool, name: str
) -> None:
    assert protocol_name(extended=extended, tls=tls, smtputf8=smtputf8) == name
