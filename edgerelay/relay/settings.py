"""What the outbound side is told: plain values, checked by `edgerelay.config` before.

Durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class HopKind(Enum):
    SMTP = "smtp"  #: smtp://host:port
    SMTPS = "smtps"  #: smtps://host:port, TLS from the first octet
    LMTP = "lmtp"  #: lmtp://host:port
    LMTP_UNIX = "lmtp+unix"  #: lmtp+unix:///path
    MAILDIR = "maildir"  #: maildir:///path; {local_part} and {domain} may stand in it
    MX = "mx"  #: "mx": the recipient's own domain; "mx:DOMAIN": that one


@dataclass(frozen=True, slots=True)
class NextHop:
    """One entry of ``next_hop``. Only the fields its kind names are set."""

    kind: HopKind
    host: str = ""  #: name or address literal; the domain of ``mx:DOMAIN``
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        match self.kind:
            case HopKind.MX:
                return f"mx:{self.host}" if self.host else "mx"
            case HopKind.MAILDIR | HopKind.LMTP_UNIX:
                return f"{self.kind.value}://{self.path}"
            case _:
                host = f"[{self.host}]" if ":" in self.host else self.host
                return f"{self.kind.value}://{host}:{self.port}"


class HopTls(Enum):
    OFF = "off"
    OPPORTUNISTIC = "opportunistic"  #: unverified, and in the clear if a handshake fails
    REQUIRED = "required"  #: encrypted, unverified
    VERIFY = "verify"  #: encrypted, and the certificate is good for the hop's name


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """``domains``: "example.com", ".example.com" (its subdomains) or "*"; A-labels, lower case.

    ``recipients``: "callout", "any", or the path of a recipients file.
    """

    domains: tuple[str, ...]
    next_hops: tuple[NextHop, ...]
    recipients: str | Path = "callout"
    tls: HopTls = HopTls.OPPORTUNISTIC


@dataclass(frozen=True, slots=True)
class RelaySettings:
    hostname: str
    postmaster: str = ""  #: "": postmaster@hostname; who a report comes from and answers go to
    routes: tuple[RouteSettings, ...] = ()
    retry: tuple[float, ...] = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
    warn_after: float = 4 * 3600.0
    expire: float = 5 * 86400.0
    concurrency_per_destination: int = 20  #: of this process
    connect: float = 30.0
    greeting: float = 300.0
    command: float = 300.0
    data_start: float = 120.0
    data_block: float = 180.0
    data_end: float = 600.0
    source: tuple[str, ...] = ()  #: local addresses to connect from
