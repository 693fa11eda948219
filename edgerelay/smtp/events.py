"""What a client's octets mean, one frozen value for each thing it may say or do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from edgerelay.mail.envelope import Envelope, Recipient
from edgerelay.mail.reply import Reply


class DataProblem(Enum):
    """Why mail data cannot be accepted. If there are several, the first of these is told."""

    BARE_NEWLINE = "bare newline"  #: a CR without LF or an LF without CR: smuggling
    TOO_BIG = "too big"  #: over the size on offer (RFC 1870 section 6.3)
    LONG_LINE = "long line"  #: over 998 octets, where the listener refuses those


@dataclass(frozen=True, slots=True)
class Hello:
    """``name`` is printable ASCII: a domain, an address literal, or something like them."""

    verb: Literal["EHLO", "HELO"]
    name: str


@dataclass(frozen=True, slots=True)
class Mail:
    """``size`` is the message's size in octets as the client declared it, if it did.

    ``prdr``: after the content the client takes a reply for each recipient.
    """

    envelope: Envelope
    size: int | None
    prdr: bool = False


@dataclass(frozen=True, slots=True)
class Rcpt:
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class StartData:
    """DATA: a 354 opens the mail data."""


@dataclass(frozen=True, slots=True)
class StartChunk:
    """BDAT (RFC 3030 section 2): so many octets follow at once, asked for or not. Wants no reply:
    that comes when they are there, with `EndOfChunk` or `EndOfData`."""

    size: int
    last: bool


@dataclass(frozen=True, slots=True)
class DataChunk:
    """Content, dots unstuffed, never empty. Wants no reply."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EndOfChunk:
    """All of a chunk that is not the last. ``size`` is its own, in octets; ``problem`` as below.

    A refusal ends the mail transaction.
    """

    problem: DataProblem | None
    size: int


@dataclass(frozen=True, slots=True)
class EndOfData:
    """The final dot, or the last chunk. ``size`` is that of all content in octets, kept or not.

    With a ``problem`` the chunks that came are not the whole message: forget them.
    """

    problem: DataProblem | None
    size: int


@dataclass(frozen=True, slots=True)
class Reset:
    pass


@dataclass(frozen=True, slots=True)
class Noop:
    pass


@dataclass(frozen=True, slots=True)
class Verify:
    argument: str


@dataclass(frozen=True, slots=True)
class Expand:
    argument: str


@dataclass(frozen=True, slots=True)
class Help:
    """``topic`` is empty if the client named none."""

    topic: str


@dataclass(frozen=True, slots=True)
class Quit:
    pass


@dataclass(frozen=True, slots=True)
class StartTls:
    """Nothing was pipelined after it. After the 220 comes the handshake."""


@dataclass(frozen=True, slots=True)
class XClient:
    """A proxy says whom it speaks for; None for what it does not know. 220 begins anew."""

    attributes: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Refused:
    """The protocol's own objection: send ``reply``; if ``fatal``, close after it.

    ``line`` is a short, escaped piece of what the client sent, for the log alone.
    """

    reply: Reply
    line: str
    fatal: bool = False


Event: TypeAlias = (
    Hello
    | Mail
    | Rcpt
    | StartData
    | StartChunk
    | DataChunk
    | EndOfChunk
    | EndOfData
    | Reset
    | Noop
    | Verify
    | Expand
    | Help
    | Quit
    | StartTls
    | XClient
    | Refused
)
