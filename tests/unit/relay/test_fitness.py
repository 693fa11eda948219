"""What a hop does not offer, and which mail that concerns."""

from __future__ import annotations

import pytest

from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import Body, ClientFacts, Envelope, Recipient
from edgerelay.mail.reply import Reply
from edgerelay.relay.attempt import BINARY, EIGHT_BIT, NOT_ASCII, TLS_REQUIRED, TOO_BIG
from edgerelay.relay.fitness import refusal_of_message, refusal_of_recipient
from edgerelay.smtp.client import Capabilities
from edgerelay.spool.api import PendingRecipient, QueueId, StoredMessage

NOTHING = Capabilities()
ALL = Capabilities(eight_bit=True, smtputf8=True)


def message(
    *,
    sender: str = "alice@example.net",
    body: Body | None = None,
    smtputf8: bool = False,
    requiretls: bool = False,
    is_7bit: bool = True,
    size: int = 90,
) -> StoredMessage:
    path = ReversePath(Mailbox.from_text(sender))
    envelope = Envelope(path, body=body, smtputf8=smtputf8, requiretls=requiretls)
    client = ClientFacts("192.0.2.1", "client", "ESMTP")
    return StoredMessage(QueueId("Q"), envelope, client, 0.0, b"A: b\r\n\r\n\r\n", size, is_7bit)


@pytest.mark.parametrize(
    ("limit", "refusal"), [(None, None), (0, None), (100, None), (99, TOO_BIG)]
)
def test_size_counts_our_fields_too(limit: int | None, refusal: Reply | None) -> None:
    assert refusal_of_message(message(), Capabilities(size=limit)) == refusal


@pytest.mark.parametrize(
    ("body", "is_7bit", "offered", "refusal"),
    [
        (Body.EIGHT_BIT_MIME, False, ALL, None),
        (Body.EIGHT_BIT_MIME, False, NOTHING, EIGHT_BIT),
        # The parameter is dropped where the content does not need it.
        (Body.EIGHT_BIT_MIME, True, NOTHING, None),
        # Undeclared octets go as they came: whoever sent them did not know better either.
        (None, False, NOTHING, None),
        (Body.SEVEN_BIT, False, NOTHING, None),
    ],
)
def test_8bitmime(
    body: Body | None, is_7bit: bool, offered: Capabilities, refusal: Reply | None
) -> None:
    assert refusal_of_message(message(body=body, is_7bit=is_7bit), offered) == refusal


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (message(sender="jürgen@example.net", smtputf8=True), NOT_ASCII),
        (message(smtputf8=True, is_7bit=False), NOT_ASCII),
        (message(smtputf8=True), None),
        (message(), None),
    ],
)
def test_smtputf8(given: StoredMessage, refusal: Reply | None) -> None:
    assert refusal_of_message(given, NOTHING) == refusal
    assert refusal_of_message(given, ALL) is None


@pytest.mark.parametrize(
    ("address", "refusal"),
    [("user@example.org", None), ("üser@example.org", NOT_ASCII), ("u@exämple.org", NOT_ASCII)],
)
def test_a_recipient_that_is_not_ascii(address: str, refusal: Reply | None) -> None:
    pending = PendingRecipient(Recipient(ForwardPath(Mailbox.from_text(address))))
    assert refusal_of_recipient(pending, NOTHING) == refusal
    assert refusal_of_recipient(pending, ALL) is None


@pytest.mark.parametrize(
    ("offered", "refusal"),
    [
        (NOTHING, BINARY),
        (Capabilities(chunking=True), BINARY),
        (Capabilities(binarymime=True), BINARY),
        (Capabilities(chunking=True, binarymime=True), None),
    ],
)
def test_binarymime_wants_both_extensions(offered: Capabilities, refusal: Reply | None) -> None:
    assert refusal_of_message(message(body=Body.BINARY_MIME), offered) == refusal


def test_requiretls_goes_nowhere_else() -> None:
    """RFC 8689 section 4.2.1."""
    assert refusal_of_message(message(requiretls=True), ALL) == TLS_REQUIRED
    assert refusal_of_message(message(requiretls=True), ALL, keeps_requiretls=True) is None
