"""The PROXY protocol, versions 1 and 2: who the client behind a load balancer is.

Octets in, a value out; it waits for nothing. Whether a peer may send such a header at all is
the session's business, and a peer that must but does not is not answered.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from edgerelay.net.endpoint import Address, canonical

_V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED: Final = 16
#: Addresses take 36 octets; the rest is room for TLVs (a client certificate's name …).
_V2_LIMIT: Final = _V2_FIXED + 4096
#: Longest v1 line (section 2.1), CRLF included; the shortest is "PROXY UNKNOWN".
_V1_LIMIT: Final = 107
_V1_SHORTEST: Final = 15
_V1: Final = re.compile(rb"PROXY (TCP4|TCP6) (\S+) (\S+) (\d{1,5}) (\d{1,5})")
_V1_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: .*)?")
_V2_COMMANDS: Final = frozenset({0x20, 0x21})  #: LOCAL and PROXY


class ProxyError(Exception):
    """These octets are no PROXY header. Drop the connection without a word."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """``client`` is None where the proxy speaks for itself (LOCAL) or does not say (UNKNOWN)."""

    client: tuple[Address, int] | None
    length: int  #: octets of the header; what follows is the client's


def still_needed(data: bytes) -> int:
    """Return how many octets must follow at least; 0 when the header is complete.

    Whoever reads no more than that never reads past the header. Raises `ProxyError` at the
    first octet that cannot be one.
    """
    if data.startswith(_V2_SIGNATURE):
        return _v2_needed(data)
    if _V2_SIGNATURE.startswith(data):
        return _V1_SHORTEST - len(data)
    if not (data.startswith(b"PROXY ") or b"PROXY ".startswith(data)):
        raise ProxyError("no PROXY header")
    end = data.find(b"\n", 0, _V1_LIMIT)
    if end >= 0:
        return 0
    if len(data) >= _V1_LIMIT:
        raise ProxyError("PROXY line too long")
    return max(1, _V1_SHORTEST - len(data))


def parse_proxy_header(data: bytes) -> ProxyHeader:
    """Read the header at the start of ``data``, which is complete (`still_needed` said 0).

    Raises `ProxyError`.
    """
    if data.startswith(_V2_SIGNATURE):
        return _parse_v2(data)
    end = data.index(b"\n")
    if data[end - 1 : end] != b"\r":
        raise ProxyError("PROXY line without CR")
    line = data[: end - 1]
    if match := _V1.fullmatch(line):
        return ProxyHeader(_v1_client(*match.groups()), end + 1)
    if _V1_UNKNOWN.fullmatch(line):
        return ProxyHeader(None, end + 1)
    raise ProxyError("malformed PROXY line")


def _v1_client(family: bytes, source: bytes, to: bytes, *ports: bytes) -> tuple[Address, int]:
    form = IPv4Address if family == b"TCP4" else IPv6Address
    if b"%" in source + to:  # Python takes any octets for an IPv6 zone
        raise ProxyError("an address with a zone")
    try:
        form(to.decode("ascii"))
        form(source.decode("ascii"))
        client = canonical(source.decode("ascii"))
    except ValueError:
        raise ProxyError(f"no {family.decode()} address") from None
    numbers = [int(port) for port in ports]
    if max(numbers) > 65535 or [b"%d" % number for number in numbers] != list(ports):
        raise ProxyError("no port")
    return client, numbers[0]


def _v2_needed(data: bytes) -> int:
    if len(data) > 12 and data[12] not in _V2_COMMANDS:
        raise ProxyError("unknown PROXY version or command")
    if len(data) < _V2_FIXED:
        return _V2_FIXED - len(data)
    length = _V2_FIXED + int.from_bytes(data[14:16], "big")
    if length > _V2_LIMIT:
        raise ProxyError("PROXY header too long")
    return max(0, length - len(data))


def _parse_v2(data: bytes) -> ProxyHeader:
    length = _V2_FIXED + int.from_bytes(data[14:16], "big")
    body = data[_V2_FIXED:length]
    if data[12] == 0x20 or data[13] == 0x00:  # LOCAL, or AF_UNSPEC: the addresses mean nothing
        return ProxyHeader(None, length)
    if data[13] == 0x11 and len(body) >= 12:
        address: Address = IPv4Address(body[:4])
        port = body[8:10]
    elif data[13] == 0x21 and len(body) >= 36:
        address = canonical(socket.inet_ntop(socket.AF_INET6, body[:16]))
        port = body[32:34]
    elif data[13] == 0x31 and len(body) >= 216:  # from a Unix socket: nobody we could name
        return ProxyHeader(None, length)
    else:
        raise ProxyError("unknown PROXY family, or too short for it")
    return ProxyHeader((address, int.from_bytes(port, "big")), length)
