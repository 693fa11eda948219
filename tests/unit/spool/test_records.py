"""What is written of a message comes back as it was, and nothing else comes back."""

from __future__ import annotations

import pytest

from edgerelay.mail.address import ForwardPath, Mailbox
from edgerelay.mail.envelope import Notify, Recipient
from edgerelay.spool.api import PendingRecipient, QueueId
from edgerelay.spool.records import decode_message, decode_recipients, encode_recipients

USER = ForwardPath(Mailbox("user", "example.com"))
NOTIFIES = [None, *(Notify(value) for value in range(8))]


@pytest.mark.parametrize("notify", NOTIFIES)
@pytest.mark.parametrize("orcpt", [None, "rfc822;a+2Bb@c.example"])
def test_recipients_come_back(notify: Notify | None, orcpt: str | None) -> None:
    pending = [PendingRecipient(Recipient(USER, notify, orcpt), "451 4.3.0 “later”")]
    assert decode_recipients(encode_recipients(pending).encode()) == pending


def test_what_an_operator_reads() -> None:
    pending = PendingRecipient(Recipient(USER, Notify.SUCCESS | Notify.DELAY))
    assert encode_recipients([pending]) == '[{"to":"user@example.com","notify":"SUCCESS,DELAY"}]'


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'[{"to":"nobody"}]',
        b'[{"to":"user@example.com","notify":"SOMETIMES"}]',
        b'[{"to":7}]',
        b'[{"to":"user@example.com\xff"}]',
        b'[{"to":"us\\u0000er@example.com"}]',
    ],
)
def test_a_record_that_does_not_parse_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_recipients(text)


@pytest.mark.parametrize("record", [b"", b"[]", b'{"body":"9BIT"}', b'{"reverse_path":"@"}'])
def test_so_is_one_of_a_message(record: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_message(record, QueueId("x"), 0.0, b"", 0, True)


def test_a_field_of_a_later_program_is_passed_over() -> None:
    message = decode_message(b'{"colour":"blue"}', QueueId("x"), 0.0, b"", 0, True)
    assert message.envelope.reverse_path.is_null
