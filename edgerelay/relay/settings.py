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

    @classmethod
    def from_text(cls, text: str) -> NextHop:
        """Read what `str` wrote: a lane's name, or a policy's wish. Raises ValueError."""
        if text == "mx":
            return cls(HopKind.MX)
        if text.startswith("mx:"):
            return cls(HopKind.MX, host=_host(text[3:]))
        scheme, separator, rest = text.partition("://")
        kind = HopKind(scheme)
        if not separator or any(c <= " " or c in ",\x7f" for c in text):
            raise ValueError(f"{text!r} is no next hop")
        if kind in (HopKind.MAILDIR, HopKind.LMTP_UNIX):
            path = Path(rest)
            if not path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{text!r} has no absolute path")
            return cls(kind, path=path)
        host, colon, port = rest.rpartition(":")
        if not (colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{text!r} has no port")
        return cls(kind, host=_host(host.strip("[]")), port=int(port))


def _host(text: str) -> str:
    if not text or "/" in text or "@" in text:
        raise ValueError(f"{text!r} is no host")
    return text.lower()


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
