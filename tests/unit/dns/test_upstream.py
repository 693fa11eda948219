"""Servers that are dead, silent, lame or not there: a temporary failure, never an exception."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import trio

from edgerelay.dns.answer import Answer, Status
from edgerelay.dns.upstream import DnspythonUpstream, read_servers
from edgerelay.testing.literal_dns import Fault, serve_dns

ZONE = {("example.com", "A"): ["192.0.2.1"]}


async def odd_server(nursery: trio.Nursery, spoil: Callable[[dns.message.Message], bytes]) -> int:
    """A server that answers everything with nothing, in its own way."""
    udp = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await udp.bind(("127.0.0.1", 0))

    async def serve() -> None:
        with udp:
            while True:
                wire, client = await udp.recvfrom(4096)
                response = dns.message.make_response(dns.message.from_wire(wire))
                await udp.sendto(spoil(response), client)

    nursery.start_soon(serve)
    return int(udp.getsockname()[1])


def refuse(response: dns.message.Message) -> bytes:
    response.set_rcode(dns.rcode.REFUSED)
    return response.to_wire()


def sign(response: dns.message.Message) -> bytes:
    response.flags |= dns.flags.AD | dns.flags.RA
    return response.to_wire()


async def ask(*ports: int) -> Answer:
    servers = [("127.0.0.1", port) for port in ports]
    return await DnspythonUpstream(servers, timeout=0.4).resolve("example.com", "A")


async def test_the_next_server_is_asked(nursery: trio.Nursery) -> None:
    good = await serve_dns(ZONE, nursery)
    refusing = await odd_server(nursery, refuse)
    lame = await odd_server(nursery, lambda response: response.to_wire())
    assert (await ask(refusing, lame, good)).records == ("192.0.2.1",)
    assert (await ask(refusing, lame)).status is Status.TEMPORARY


async def test_garbage_is_not_an_answer(nursery: trio.Nursery) -> None:
    babbling = await odd_server(nursery, lambda response: b"\xff" * 30)
    good = await serve_dns(ZONE, nursery)
    assert (await ask(babbling)).status is Status.TEMPORARY
    assert (await ask(babbling, good)).status is Status.FOUND


async def test_the_authentic_bit_is_reported(nursery: trio.Nursery) -> None:
    signed = await odd_server(nursery, sign)
    answer = await ask(signed)
    assert (answer.status, answer.authentic) == (Status.NO_DATA, True)


async def test_nobody_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert (await ask(port)).status is Status.TEMPORARY


async def test_no_resolv_conf_is_a_temporary_failure_until_there_is_one(tmp_path: Path) -> None:
    upstream = DnspythonUpstream(resolv_conf=tmp_path / "resolv.conf", timeout=0.2)
    assert (await upstream.resolve("example.com", "A")).status is Status.TEMPORARY
    assert (await upstream.resolve("a..b", "A")).status is Status.NXDOMAIN


def test_resolv_conf_is_read_with_tolerance(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    assert read_servers(file) == ()
    file.write_bytes(
        b"# nameserver 192.0.2.9\nsearch x\nnameserver\nnameserver 192.0.2.1\n"
        b"nameserver 2001:db8::1 # second\n\xff\xfe\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n"
    )
    assert read_servers(file) == (("192.0.2.1", 53), ("2001:db8::1", 53), ("192.0.2.3", 53))


async def test_a_silent_server_costs_its_share_of_the_time(nursery: trio.Nursery) -> None:
    silent = await serve_dns({("example.com", "A"): Fault.TIMEOUT}, nursery)
    good = await serve_dns(ZONE, nursery)
    assert (await ask(silent, good)).status is Status.FOUND
    assert (await ask(silent)).status is Status.TEMPORARY
