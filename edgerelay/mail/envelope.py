"""What surrounds a message: reverse-path, recipients, and the parameters they came with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, auto

from edgerelay.mail.address import ForwardPath, ReversePath


class Body(Enum):
    """The BODY parameter (RFC 6152 section 2, RFC 3030 section 3)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT_MIME = "8BITMIME"
    BINARY_MIME = "BINARYMIME"  #: no lines at all: it travels in chunks alone


class Ret(Enum):
    """What a report returns of the message (RFC 3461 section 4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


class Notify(Flag):
    """When a recipient's sender wants a report (RFC 3461 section 4.1). NEVER stands alone."""

    NEVER = 0
    SUCCESS = auto()
    FAILURE = auto()
    DELAY = auto()


#: No NOTIFY parameter: failures and delays are reported (RFC 3461 section 4.1).
NOTIFY_DEFAULT = Notify.FAILURE | Notify.DELAY


@dataclass(frozen=True, slots=True)
class Recipient:
    """A forward-path with its DSN parameters; None where the client gave none.

    ``orcpt`` is the parameter as received (``rfc822;user+2Bx@example.com``), xtext unread.
    """

    forward_path: ForwardPath
    notify: Notify | None = None
    orcpt: str | None = None

    @property
    def wants(self) -> Notify:
        return NOTIFY_DEFAULT if self.notify is None else self.notify


@dataclass(frozen=True, slots=True)
class Envelope:
    """The MAIL command's half of a transaction. ``envid`` is xtext as received, unread."""

    reverse_path: ReversePath
    body: Body | None = None
    smtputf8: bool = False
    requiretls: bool = False
    ret: Ret | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """Who gave us a message, for trace, reports and `queue show`."""

    address: str  #: of the client, after PROXY; "" for what we wrote ourselves
    helo: str  #: as claimed, escaped
    protocol: str  #: "SMTP", "ESMTP", "ESMTPS" … (RFC 3848)
    tls: str = ""  #: "TLSv1.3 TLS_AES_256_GCM_SHA384", or empty
    trusted: bool = False  #: named by access.relay_from
