"""How durations, sizes, rates, addresses and networks are written; one function each.

Every function takes what TOML gave and returns seconds, octets or a value of ours, or raises
ValueError with a text that says what was expected.
"""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_SECONDS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)", re.ASCII)
_OCTETS: Final = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_RATE: Final = re.compile(r"(\d+)\s*/\s*(s|m|h)", re.ASCII)
#: A century: longer ones overflow what they are compared with, and are a slip of the hand.
_LONGEST: Final = 100 * 366 * 86400
_LARGEST: Final = 2**53
_MAPPED_PREFIX: Final = 96  #: bits before the IPv4 address (RFC 4291 section 2.5.5.2)


def duration(value: object) -> float:
    """``"90s"``, ``"0.5s"``, ``"5d"`` as seconds. A bare number is refused: of what?"""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('expected a duration such as "90s" (units: ms, s, m, h, d)')
    seconds = Decimal(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST:
        raise ValueError("a duration of more than a hundred years")
    return float(seconds)


def positive_duration(value: object) -> float:
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError("expected a duration above zero")
    return seconds


def size(value: object) -> int:
    """``52428800`` or ``"50MiB"`` as octets."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            'expected a size such as 1000000 or "50MiB" (units: B, KB, MB, GB, KiB, MiB, GiB)'
        )
    octets = int(Decimal(match[1]) * _OCTETS[match[2]])
    if octets > _LARGEST:
        raise ValueError("a size beyond any disk")
    return octets


def positive_size(value: object) -> int:
    octets = size(value)
    if octets <= 0:
        raise ValueError("expected a size above zero")
    return octets


def rate(value: object) -> tuple[int, float] | None:
    """``"100/m"`` as (100, 60.0); ``"off"`` as None."""
    if value == "off":
        return None
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError('expected a rate such as "100/m" (per s, m or h), or "off"')
    return int(match[1]), float(_SECONDS[match[2]])


def address_and_port(value: object, default_port: int | None = None) -> tuple[str, int]:
    """``"192.0.2.1:25"`` or ``"[2001:db8::1]:25"`` as a literal and a port, which may be 0."""
    example = '"192.0.2.1:25" or "[2001:db8::1]:25"'
    if not isinstance(value, str):
        raise ValueError(f"expected an address and a port such as {example}")
    host, port = split_port(value)
    if port is None:
        port = default_port
    try:
        literal = str(ip_address(host))
    except ValueError:
        literal = ""
    if not literal or port is None:
        raise ValueError(f"expected an address and a port such as {example}")
    return literal, port


#: Of the address of a listener whose socket a service manager passes.
PASSED: Final = "fd:"


def listener_address(value: object) -> tuple[str, int]:
    """An address and a port, or ``"fd:NAME"``, which comes back with port 0."""
    if not isinstance(value, str) or not value.startswith(PASSED):
        return address_and_port(value)
    if re.fullmatch(r"[\x21-\x39\x3b-\x7e]{1,255}", value.removeprefix(PASSED)) is None:
        raise ValueError('expected "fd:NAME", NAME as in FileDescriptorName= of the socket unit')
    return value, 0


def split_port(text: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``. Raises ValueError."""
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(\d{1,5}))?", text, re.ASCII)
    if match is None or (match[2] and int(match[2]) > 65535):
        raise ValueError(f"{text!r} is no host and port")
    host = match[1].strip("[]")
    if ("[" in match[1]) != (":" in host):
        raise ValueError(f"{text!r} is no host and port")
    return host, int(match[2]) if match[2] else None


def network(value: object) -> Network:
    """``"192.0.2.0/24"``, or an address for itself alone."""
    if not isinstance(value, str):
        raise ValueError('expected a network such as "192.0.2.0/24"')
    try:
        return _canonical(ip_network(value))
    except ValueError:
        pass
    try:
        meant = ip_network(value, strict=False)
    except ValueError:
        raise ValueError('expected a network such as "192.0.2.0/24"') from None
    raise ValueError(f'has bits set beyond its prefix; did you mean "{meant}"?')


def _canonical(network: Network) -> Network:
    """Clients in ``::ffff:0:0/96`` are known by their IPv4 addresses, so networks are, too."""
    first, prefix = network.network_address, network.prefixlen - _MAPPED_PREFIX
    if prefix < 0 or not isinstance(first, IPv6Address) or first.ipv4_mapped is None:
        return network
    return ip_network(f"{first.ipv4_mapped}/{prefix}")


def local_address(value: object) -> str:
    """An address literal of this machine, written as the standard library writes it."""
    try:
        return str(ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError('expected an address such as "192.0.2.1"') from None
