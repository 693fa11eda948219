"""What a next hop cannot take: sizes, octets and addresses it does not offer to accept.

Pure: it compares a message with what the hop said after EHLO.
"""

from __future__ import annotations

from edgerelay.mail.envelope import Body
from edgerelay.mail.reply import Reply
from edgerelay.relay.attempt import BINARY, EIGHT_BIT, NOT_ASCII, TLS_REQUIRED, TOO_BIG
from edgerelay.smtp.client import Capabilities
from edgerelay.spool.api import PendingRecipient, StoredMessage


def refusal_of_message(
    message: StoredMessage, offered: Capabilities, *, keeps_requiretls: bool = False
) -> Reply | None:
    """Return why no recipient can have the message from this hop, if so.

    ``keeps_requiretls``: see `Connection.keeps_requiretls`.
    """
    envelope = message.envelope
    if envelope.requiretls and not keeps_requiretls:
        return TLS_REQUIRED  # RFC 8689 section 4.2.1
    if envelope.body is Body.BINARY_MIME and not (offered.chunking and offered.binarymime):
        return BINARY  # RFC 3030 section 3: we do not convert
    if offered.size and len(message.prepend) + message.size > offered.size:
        return TOO_BIG  # RFC 1870 section 6.1
    if not offered.smtputf8:
        path = envelope.reverse_path.mailbox
        if path is not None and not path.is_ascii:
            return NOT_ASCII  # RFC 6531 section 3.5
        if envelope.smtputf8 and not message.is_7bit:
            return NOT_ASCII  # its header may be what needs it
    if envelope.body is Body.EIGHT_BIT_MIME and not offered.eight_bit and not message.is_7bit:
        return EIGHT_BIT  # RFC 6152 section 3: we do not convert
    return None


def refusal_of_recipient(pending: PendingRecipient, offered: Capabilities) -> Reply | None:
    """Return why this recipient cannot have it from this hop, if so (RFC 6531 section 3.5)."""
    if offered.smtputf8 or pending.recipient.forward_path.mailbox.is_ascii:
        return None
    return NOT_ASCII
