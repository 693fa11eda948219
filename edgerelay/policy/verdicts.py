"""What a policy may say: values, so that saying something and doing it are two things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from edgerelay.mail.address import ForwardPath
from edgerelay.mail.reply import Reply
from edgerelay.policy.edits import Edit


@dataclass(frozen=True, slots=True)
class Continue:
    """No objection: the next policy's answer counts."""


@dataclass(frozen=True, slots=True)
class Tag:
    """No objection, and these edits of the message, in their order.

    Said before the message is there, they apply to each message of what was asked about:
    the session, the transaction, or the transaction in which this recipient was accepted.
    """

    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Accept:
    """Ask no further policy about this session, transaction, recipient or message.

    It never skips routing, recipient checks, size limits or trace fields.
    """


@dataclass(frozen=True, slots=True)
class Defer:
    """A transient negative completion: the client may try again."""

    reply: Reply

    def __post_init__(self) -> None:
        if not self.reply.is_transient:
            raise ValueError(f"Defer needs a 4yz reply, not {self.reply.code}")


@dataclass(frozen=True, slots=True)
class Reject:
    """A permanent negative completion."""

    reply: Reply

    def __post_init__(self) -> None:
        if not self.reply.is_permanent:
            raise ValueError(f"Reject needs a 5yz reply, not {self.reply.code}")


@dataclass(frozen=True, slots=True)
class Hold:
    """Take the message and keep it where an operator sees it. ``reason`` is for the operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Take the message and drop it. ``reason`` is for the operator."""

    reason: str


Decisive: TypeAlias = Accept | Defer | Reject | Hold | Discard
DECISIVE: Final = (Accept, Defer, Reject, Hold, Discard)


@dataclass(frozen=True, slots=True)
class PerRecipient:
    """Of a message: decided for these recipients, no objection for the others.

    A client that asked for PRDR hears each one's own reply. Any other has one reply for all: if
    somebody is to have the message, 250, and then who is refused is reported to the sender, and
    who is deferred has it all the same.
    """

    verdicts: Mapping[ForwardPath, Decisive]


Verdict: TypeAlias = Continue | Tag | Decisive
MessageVerdict: TypeAlias = Verdict | PerRecipient
VERDICTS: Final = (Continue, Tag, *DECISIVE, PerRecipient)
CONTINUE: Final = Continue()
ACCEPT: Final = Accept()
