"""What happens before the greeting: limits, PROXY headers, TLS."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from edgerelay.edge.settings import ListenerSettings, ListenerTls
from edgerelay.net.tls import ServerTls
from edgerelay.net.transport import ConnectionLost
from edgerelay.observe.events import SessionEnded
from edgerelay.testing.certificates import tls_contexts

World = Any  # tests/unit/edge/conftest.py

PROXY = "10.0.0.1:4000"
HEADER = b"PROXY TCP4 192.0.2.77 127.0.0.1 40000 25\r\n"


def behind_proxy(world: World, tls: ListenerTls = ListenerTls.OFF) -> None:
    world.listener = ListenerSettings(
        "test",
        tls,
        ServerTls(tls_contexts().server),
        proxy_protocol_from=(ip_network("10.0.0.0/8"),),
    )


async def secure(client: Any) -> None:
    await client.transport.start_tls(
        tls_contexts().client, server_side=False, server_hostname=tls_contexts().hostname
    )


async def test_a_client_with_too_many_connections_hears_421(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(connections_per_client=2)
    clients = [await world.greeted() for _ in range(2)]
    third = world.connect()
    assert (await third.hear()).startswith("421 4.7.0 mx.example.org Too many connections")
    assert await third.is_hung_up()
    assert (await world.connect("192.0.2.2:1").hear()).startswith("220")
    await clients[0].dialogue("C: QUIT\nS: 221")
    assert await clients[0].is_hung_up()
    await world.greeted()
    assert world.told(SessionEnded)[0].end == "too many connections"


async def test_a_client_in_a_hurry_hears_421_and_may_come_back(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(rate_per_client=(3, 30.0))
    for _ in range(3):
        await world.greeted()
    assert (await world.connect().hear()).startswith("421 4.7.0 mx.example.org Too many new")
    await trio.sleep(11)
    await world.greeted()


async def test_the_client_behind_a_proxy_is_the_one_we_trust_trace_and_count(
    autojump_clock: MockClock, world: World
) -> None:
    behind_proxy(world)
    world.set(relay_from=(ip_network("192.0.2.77/32"),), connections_per_client=1)
    client = world.connect(PROXY)
    await client.raw(HEADER + b"EHLO client.example\r\n")
    assert (await client.hear()).startswith("220")
    await client.dialogue(
        """
        S: 250-
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<anyone@elsewhere.example>
        S: 250
        C: DATA
        S: 354
        C: .
        S: 250
        """
    )
    (message,) = world.spool.messages
    assert b"([192.0.2.77])" in message.prepend
    assert message.client.address == "192.0.2.77"
    assert message.client.trusted
    again = world.connect(PROXY)
    await again.raw(HEADER)
    assert (await again.hear()).startswith("421 4.7.0")
    assert world.told(SessionEnded)[0].client == "192.0.2.77:40000"


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"])
async def test_a_proxy_that_speaks_for_itself_is_served_but_not_trusted(
    autojump_clock: MockClock, world: World, header: bytes
) -> None:
    behind_proxy(world)
    world.set(relay_from=(ip_network("10.0.0.0/8"),), connections_per_client=1)
    for _ in range(2):
        client = world.connect(PROXY)
        await client.raw(header)
        assert (await client.hear()).startswith("220")
    await client.dialogue(
        "C: HELO x\nS: 250\nC: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:<x@y.example>\nS: 550"
    )


@pytest.mark.parametrize("words", [b"EHLO client.example\r\n", b"PROXY TCP5 x\r\n", b""])
async def test_a_proxy_without_a_header_is_dropped_without_a_word(
    autojump_clock: MockClock, world: World, words: bytes
) -> None:
    behind_proxy(world)
    client = world.connect(PROXY)
    await client.raw(words)
    start = trio.current_time()
    assert await client.is_hung_up()
    assert trio.current_time() - start <= 7
    assert world.told(SessionEnded)[0].end == "no proxy header"


async def test_a_header_from_anyone_else_is_no_header(
    autojump_clock: MockClock, world: World
) -> None:
    behind_proxy(world)
    client = world.connect("192.0.2.1:4711")
    assert (await client.hear()).startswith("220")
    await client.raw(HEADER)
    assert (await client.hear()).startswith("500")


async def test_starttls_begins_again_and_is_traced(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings(
        "test", ListenerTls.STARTTLS, ServerTls(tls_contexts().server)
    )
    client = await world.greeted()
    await client.dialogue("C: STARTTLS\nS: 220 2.0.0")
    await secure(client)
    await client.dialogue("C: MAIL FROM:<a@example.com>\nS: 503")
    await client.say("EHLO safe.example")
    assert "STARTTLS" not in await client.hear()
    assert (await client.send_mail()).startswith("250")
    (message,) = world.spool.messages
    assert b"from safe.example" in message.prepend
    assert b"with ESMTPS id" in message.prepend
    assert b"(using TLSv1.3 TLS_" in message.prepend
    await client.transport.aclose()
    await trio.sleep(1)
    assert world.told(SessionEnded)[0].tls.startswith("TLSv1.3")


async def test_without_a_certificate_starttls_is_not_offered(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings("test", ListenerTls.STARTTLS, None)
    client = world.connect()
    await client.hear()
    await client.say("EHLO x.example")
    assert "STARTTLS" not in await client.hear()


async def test_nothing_may_follow_starttls(autojump_clock: MockClock, world: World) -> None:
    world.listener = ListenerSettings(
        "test", ListenerTls.STARTTLS, ServerTls(tls_contexts().server)
    )
    client = await world.greeted()
    await client.say("STARTTLS", "MAIL FROM:<evil@example.com>")
    assert (await client.hear()).startswith("554 5.5.1")
    assert await client.is_hung_up()


async def test_where_tls_is_required_mail_waits_for_it(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings(
        "test", ListenerTls.REQUIRED, ServerTls(tls_contexts().server)
    )
    client = await world.greeted()
    await client.dialogue("C: MAIL FROM:<a@example.com>\nS: 530 5.7.0\nC: STARTTLS\nS: 220")
    await secure(client)
    await client.dialogue("C: HELO x.example\nS: 250\nC: MAIL FROM:<a@example.com>\nS: 250")


async def test_implicit_tls_greets_inside_even_behind_a_proxy(
    autojump_clock: MockClock, world: World
) -> None:
    behind_proxy(world, ListenerTls.IMPLICIT)
    client = world.connect(PROXY)
    await client.raw(HEADER)
    await secure(client)
    assert (await client.hear()).startswith("220")
    await client.dialogue("C: QUIT\nS: 221")
    assert await client.is_hung_up()


@pytest.mark.parametrize("words", [b"EHLO I speak no TLS\r\n", b""])
async def test_a_handshake_that_fails_or_stalls_ends_the_session(
    autojump_clock: MockClock, world: World, words: bytes
) -> None:
    world.listener = ListenerSettings(
        "test", ListenerTls.IMPLICIT, ServerTls(tls_contexts().server)
    )
    client = world.connect()
    await client.raw(words)
    start = trio.current_time()
    with contextlib.suppress(ConnectionLost):
        while await client.transport.receive():
            pass
    assert trio.current_time() - start <= 34
    assert world.told(SessionEnded)[0].end in ("tls", "timeout")


async def test_a_truncated_tls_stream_delivers_nothing(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings(
        "test", ListenerTls.IMPLICIT, ServerTls(tls_contexts().server)
    )
    client = world.connect()
    await secure(client)
    await client.hear()
    await client.dialogue(
        "C: EHLO x\nS: 250\nC: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:<b@example.org>\nS: 250"
        "\nC: DATA\nS: 354"
    )
    await client.say("Subject: x", "", "half")
    client.transport.end_output()
    await trio.sleep(5)
    await world.assert_nothing_leaks()
    assert not world.spool.messages


async def test_a_listener_without_its_certificate_is_our_trouble(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = replace(ListenerSettings("test"), tls=ListenerTls.IMPLICIT)
    client = world.connect()
    assert (await client.hear()).startswith("421 4.3.0")
