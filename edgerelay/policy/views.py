"""What a policy is shown of the conversation, and how it shares what it found out."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol, TypeVar

from edgerelay.mail.address import ForwardPath
from edgerelay.mail.envelope import Envelope
from edgerelay.policy.evidence import Evidence

EvidenceT = TypeVar("EvidenceT", bound=Evidence)


class Asked(Protocol):
    """The stage that is being asked, as one policy reaches it."""

    async def evidence(self, kind: type[EvidenceT]) -> EvidenceT: ...
    async def evidence_if_any(self, kind: type[EvidenceT]) -> EvidenceT | None: ...
    def provide(self, evidence: Evidence) -> None: ...


@dataclass(frozen=True, slots=True)
class Session:
    """One connection, from the greeting to QUIT (RFC 5321 section 3.1)."""

    client: IPv4Address | IPv6Address | None  #: None where no address is known: a Unix socket
    token: str  #: the session's name in events and refusals
    listener: str = ""  #: the address it came in by
    helo: str = ""  #: as claimed in EHLO or HELO; hostile text, "" before it
    is_extended: bool = False  #: it said EHLO
    tls: str = ""  #: "TLSv1.3 TLS_AES_256_GCM_SHA384", or "" in the clear
    is_trusted: bool = False  #: named by access.relay_from
    is_authenticated: bool = False
    tls_client_name: str = ""  #: in a certificate that the listener verified; hostile text


class Connection:
    """The session as one policy sees it."""

    __slots__ = ("_asked", "session")

    def __init__(self, asked: Asked, session: Session) -> None:
        self._asked, self.session = asked, session

    async def evidence(self, kind: type[EvidenceT]) -> EvidenceT:
        """Wait for what a policy that provides ``kind`` found out; name it in ``needs``.

        Raises `EvidenceUnavailable`.
        """
        return await self._asked.evidence(kind)

    async def evidence_if_any(self, kind: type[EvidenceT]) -> EvidenceT | None:
        """The same for what is named in ``wants``; None if no policy gives it, or none came."""
        return await self._asked.evidence_if_any(kind)

    def provide(self, evidence: Evidence) -> None:
        """Publish evidence, as soon as it is known; name its type in ``provides``."""
        self._asked.provide(evidence)


class MailTransaction(Connection):
    """MAIL to end of data (RFC 5321 section 3.3), as one policy sees it."""

    __slots__ = ("envelope", "forward_paths")

    def __init__(
        self,
        asked: Asked,
        session: Session,
        envelope: Envelope,
        forward_paths: tuple[ForwardPath, ...],
    ) -> None:
        """``forward_paths`` were accepted so far; at message, those it is still about."""
        self._asked, self.session = asked, session
        self.envelope, self.forward_paths = envelope, forward_paths
