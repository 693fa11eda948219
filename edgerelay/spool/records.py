"""What the spool writes of a message and its recipients: JSON that an operator can read.

A record never depends on the layout of our classes: its fields are listed here, each with
the meaning it has in every version of the format. Whoever adds a field gives it a default,
and freezes a spool of the format before (tests/spools).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from edgerelay.mail.address import NULL_REVERSE_PATH, ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import Body, ClientFacts, Envelope, Notify, Recipient, Ret
from edgerelay.spool.api import NewMessage, PendingRecipient, QueueId, StoredMessage


class MessageRecord(msgspec.Struct, omit_defaults=True, frozen=True):
    """Column ``record`` of table ``message``."""

    reverse_path: str = ""  # mailbox; "" is the null reverse-path
    body: Body | None = None
    smtputf8: bool = False
    requiretls: bool = False
    ret: Ret | None = None
    envid: str | None = None  # xtext
    client: str = ""  # address
    helo: str = ""
    protocol: str = ""
    tls: str = ""
    trusted: bool = False
    about: str | None = None  # queue id


class RecipientRecord(msgspec.Struct, omit_defaults=True, frozen=True):
    """One element of column ``recipients`` of table ``delivery``."""

    to: str  # mailbox
    notify: str | None = None  # as in RFC 3461 section 4.1: "NEVER" or a list
    orcpt: str | None = None  # as received
    last: str = ""  # what was said of it last


_encode = msgspec.json.Encoder().encode
_decode_message: Final = msgspec.json.Decoder(MessageRecord).decode
_decode_recipients: Final = msgspec.json.Decoder(list[RecipientRecord]).decode


def _notify_text(notify: Notify) -> str:
    return ",".join(flag.name or "" for flag in notify) or "NEVER"


_NOTIFY_TEXTS: Final = {
    notify: _notify_text(notify) for notify in (Notify(value) for value in range(8))
}
_NOTIFY_VALUES: Final = {text: notify for notify, text in _NOTIFY_TEXTS.items()}


def encode_message(message: NewMessage) -> str:
    """Raises UnicodeError for text that is no Unicode (a lone surrogate)."""
    envelope, client = message.envelope, message.client
    mailbox = envelope.reverse_path.mailbox
    record = MessageRecord(
        "" if mailbox is None else f"{mailbox.local_part}@{mailbox.domain}",
        envelope.body,
        envelope.smtputf8,
        envelope.requiretls,
        envelope.ret,
        envelope.envid,
        client.address,
        client.helo,
        client.protocol,
        client.tls,
        client.trusted,
        message.about,
    )
    return _encode(record).decode()


def encode_recipients(recipients: Iterable[PendingRecipient]) -> str:
    """Raises UnicodeError for text that is no Unicode (a lone surrogate)."""
    records = []
    for pending in recipients:
        recipient = pending.recipient
        mailbox = recipient.forward_path.mailbox
        notify = recipient.notify
        records.append(
            RecipientRecord(
                f"{mailbox.local_part}@{mailbox.domain}",
                None if notify is None else _NOTIFY_TEXTS[notify],
                recipient.orcpt,
                pending.last_reply,
            )
        )
    return _encode(records).decode()


def stored_message(message: NewMessage) -> StoredMessage:
    """What a message will look like once it is committed."""
    return StoredMessage(
        message.queue_id,
        message.envelope,
        message.client,
        message.arrived,
        message.prepend,
        message.content.size,
        message.content.is_7bit,
        message.about,
    )


def decode_message(
    record: bytes, queue_id: QueueId, arrived: float, prepend: bytes, size: int, is_7bit: bool
) -> StoredMessage:
    """Raises ValueError for a record that does not parse."""
    read = _decode_message(record)
    return StoredMessage(
        queue_id,
        Envelope(
            ReversePath(Mailbox.from_text(read.reverse_path))
            if read.reverse_path
            else NULL_REVERSE_PATH,
            read.body,
            read.smtputf8,
            read.requiretls,
            read.ret,
            read.envid,
        ),
        ClientFacts(read.client, read.helo, read.protocol, read.tls, read.trusted),
        arrived,
        prepend,
        size,
        is_7bit,
        None if read.about is None else QueueId(read.about),
    )


def decode_recipients(text: bytes) -> Sequence[PendingRecipient]:
    """Raises ValueError for a record that does not parse."""
    recipients = []
    for read in _decode_recipients(text):
        if read.notify is not None and read.notify not in _NOTIFY_VALUES:
            raise ValueError(f"NOTIFY={read.notify!r}")
        notify = None if read.notify is None else _NOTIFY_VALUES[read.notify]
        path = ForwardPath(Mailbox.from_text(read.to))
        recipients.append(PendingRecipient(Recipient(path, notify, read.orcpt), read.last))
    if not recipients:
        raise ValueError("no recipient")
    return recipients
