"""What the inbound side is told: plain values, checked by `edgerelay.config` before.

Durations are seconds, sizes octets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from edgerelay.net.tls import ServerTls
from edgerelay.units import Network


class ListenerTls(Enum):
    OFF = "off"
    STARTTLS = "starttls"  #: offered
    REQUIRED = "required"  #: 530 5.7.0 before STARTTLS (RFC 3207 section 4)
    IMPLICIT = "implicit"  #: the handshake comes first


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """``name`` is what events call it: its address as bound."""

    name: str
    tls: ListenerTls = ListenerTls.OFF
    certificate: ServerTls | None = None
    proxy_protocol_from: tuple[Network, ...] = ()
    xclient_from: tuple[Network, ...] = ()
    greet_delay: float = 0.0  #: between the first and the last line of the greeting; 0: one line
    bare_newline: str = "reject"  #: in content: "reject" | "normalize"
    binarymime: bool = False  #: BODY=BINARYMIME is offered
    early_pipelining: str = "accept"  #: before PIPELINING is offered, or after DATA: or "refuse"
    asks_for_certificate: bool = False  #: of the client, in the handshake
    split: bool = False  #: recipients of one message are all of one route


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    hostname: str
    postmaster: str = ""  #: where a bare <postmaster> goes; "": postmaster@hostname
    relay_from: tuple[Network, ...] = ()
    message_size: int = 50 * 1024 * 1024
    recipients_per_message: int = 1000
    connections: int = 10_000
    connections_per_client: int = 50
    rate_per_client: tuple[int, float] | None = (100, 60.0)  #: so many in so many seconds
    connections_per_network: int = 500
    rate_per_network: tuple[int, float] | None = (1000, 60.0)
    errors_per_session: int = 20
    command_timeout: float = 300.0
    data_timeout: float = 300.0
    min_data_rate: int = 500  #: octets a second, beyond `data_timeout`; 0: any
    session_timeout: float = 1800.0
    content_memory: int = 512 * 1024 * 1024
    decision_timeout: float = 100.0  #: all message policies together
    delay_reject: bool = True  #: what connect, EHLO or MAIL earned is said at RCPT
    authserv_id: str = ""  #: in Authentication-Results; "": the hostname
    remove_results_of: tuple[str, ...] = ()  #: further ids whose forged fields are removed
    long_lines: str = "accept"  #: text lines over 998 octets: "accept" | "reject"
    #: Mail to whom its own Delivered-To fields name, all of them: "accept" | "reject".
    delivered_before: str = "reject"
    listeners: tuple[ListenerSettings, ...] = field(default_factory=tuple)
