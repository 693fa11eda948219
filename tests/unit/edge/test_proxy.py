"""PROXY headers: every good one is read, at every split; nothing else passes for one."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerelay.edge.proxy import ProxyError, parse_proxy_header, still_needed

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


TCP4 = bytes([192, 0, 2, 78]) + bytes([127, 0, 0, 1]) + (40000).to_bytes(2, "big") + b"\0\x19"
TCP6 = socket.inet_pton(socket.AF_INET6, "2001:db8::78") + bytes(16) + b"\x9c\x40\0\x19"
MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.9") + bytes(16) + b"\x9c\x40\0\x19"
TLV = b"\x04\x00\x05hello"

GOOD = [
    (b"PROXY TCP4 192.0.2.77 127.0.0.1 40000 25\r\n", ("192.0.2.77", 40000)),
    (b"PROXY TCP6 2001:db8::77 ::1 40000 25\r\n", ("2001:db8::77", 40000)),
    (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 1 25\r\n", ("192.0.2.9", 1)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    (v2(0x21, 0x11, TCP4), ("192.0.2.78", 40000)),
    (v2(0x21, 0x11, TCP4 + TLV), ("192.0.2.78", 40000)),
    (v2(0x21, 0x21, TCP6), ("2001:db8::78", 40000)),
    (v2(0x21, 0x21, MAPPED), ("192.0.2.9", 40000)),
    (v2(0x20, 0x11, TCP4), None),  # LOCAL: a health check
    (v2(0x20, 0x00, b""), None),
    (v2(0x21, 0x00, b"whatever"), None),  # UNSPEC
    (v2(0x21, 0x31, bytes(216)), None),  # from a Unix socket
]

BAD = [
    b"PROXY TCP6 fe80::1%eth0 ::1 4000 25\r\n",
    b"PROXY TCP6 fe80::1%\x00\x1b[31m(\\ ::1 4000 25\r\n",
    b"PROXY TCP6 ::1 fe80::1%])x(;y 4000 25\r\n",
    b"EHLO client.example\r\n",
    b"\r\nEHLO client.example\r\n",
    b"PROXY TCP5 192.0.2.77 127.0.0.1 40000 25\r\n",
    b"PROXY TCP4 2001:db8::1 ::1 40000 25\r\n",  # family and address disagree
    b"PROXY TCP6 192.0.2.1 192.0.2.2 40000 25\r\n",
    b"PROXY TCP4 192.0.2.77 127.0.0.1 65536 25\r\n",
    b"PROXY TCP4 192.0.2.77 127.0.0.1 040 25\r\n",
    b"PROXY TCP4 192.0.2.77 127.0.0.1 -1 25\r\n",
    b"PROXY TCP4 192.0.2.77  127.0.0.1 1 25\r\n",
    b"PROXY TCP4 192.0.2.77 127.0.0.1 1\r\n",
    b"PROXY TCP4 192.0.2.77 127.0.0.1 1 25\n",
    b"PROXY TCP4 192.0.2.077 127.0.0.1 1 25\r\n",
    b"PROXY \xff\r\n",
    b"PROXY UNKNOWN" + b" " * 100 + b"\r\n",
    v2(0x11, 0x11, TCP4),  # version 1 in a binary header
    v2(0x22, 0x11, TCP4),  # no such command
    v2(0x21, 0x12, TCP4),  # a datagram
    v2(0x21, 0x11, TCP4[:-1]),
    v2(0x21, 0x21, TCP4),
    v2(0x21, 0x31, bytes(215)),
    v2(0x21, 0x11, TCP4 + bytes(5000)),
]


def read(octets: bytes) -> tuple[object, int]:
    header = parse_proxy_header(octets)
    client = None if header.client is None else (str(header.client[0]), header.client[1])
    return client, header.length


@pytest.mark.parametrize(("octets", "client"), GOOD)
@pytest.mark.parametrize("rest", [b"", b"EHLO client.example\r\n", b"\n"])
def test_a_good_header_ends_where_it_ends(octets: bytes, client: object, rest: bytes) -> None:
    assert still_needed(octets + rest) == 0
    assert read(octets + rest) == (client, len(octets))


@pytest.mark.parametrize(("octets", "client"), GOOD)
def test_what_is_needed_never_reaches_past_the_header(octets: bytes, client: object) -> None:
    for end in range(len(octets)):
        needed = still_needed(octets[:end])
        assert 0 < needed <= len(octets) - end
    assert still_needed(octets) == 0


@pytest.mark.parametrize("octets", BAD)
def test_anything_else_is_refused(octets: bytes) -> None:
    def refuse() -> None:
        assert still_needed(octets) == 0
        parse_proxy_header(octets)

    with pytest.raises(ProxyError):
        refuse()


@given(st.binary(max_size=200), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE]))
def test_hostile_octets_raise_nothing_else_and_are_bounded(octets: bytes, start: bytes) -> None:
    data = start + octets
    try:
        if still_needed(data) == 0:
            assert parse_proxy_header(data).length <= len(data)
        else:
            assert len(data) < 107 or data.startswith(SIGNATURE)
    except ProxyError:
        pass
