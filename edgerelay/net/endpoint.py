"""How the two ends of a connection are written: ``192.0.2.1:25``, ``[2001:db8::1]:25``."""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

Address = IPv4Address | IPv6Address


@lru_cache(maxsize=4096)  # the same few hundred clients come all day
def canonical(text: str) -> Address:
    """Parse an address literal; an IPv4-mapped IPv6 address becomes the IPv4 one.

    A zone (``fe80::1%eth0``) is kept. Raises ValueError.
    """
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def endpoint_text(family: int, address: Any) -> str:
    """Write what `socket.getpeername` gave. ``address`` is as untyped as typeshed has it."""
    if family == socket.AF_INET:
        return f"{address[0]}:{address[1]}"
    if family == socket.AF_INET6:
        return host_and_port(canonical(address[0]), address[1])
    path = address.decode(errors="backslashreplace") if isinstance(address, bytes) else address
    return f"unix:{path}"


def host_and_port(host: Address, port: int) -> str:
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
