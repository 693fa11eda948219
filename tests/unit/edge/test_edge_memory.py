"""Whatever way a session ends, its message's octets go at once: not when the collector comes.

It comes seldom to what has lived for a while, and a message may be 256 KiB. So it is off here.
"""

from __future__ import annotations

import errno
import gc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from edgerelay.edge.policing import Policing
from edgerelay.edge.record import Record
from edgerelay.edge.session import Session
from edgerelay.net.transport import TransportError
from edgerelay.pipeline import Asking, Mode
from edgerelay.policy import CONTINUE, MailTransaction, Message, MessageVerdict
from edgerelay.spool.disk import ContentFile
from tests.unit.edge.policies import Hook, policy, says

World = Any  # tests/unit/edge/conftest.py

MARK = b"octets that are to go"
#: What one session leaves with a socket and a protocol is below it, a message is above it.
LARGE = 1000
#: The header is large too: policies cut it up.
CONTENT = b"".join(
    (b"X-Large: ", (MARK + b"\r\n ") * 200, b"\r\n\r\n", (MARK + b"\r\n") * 5000)
).decode()


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def holders(world: World) -> list[str]:
    """What holds a message's octets, apart from the test's own memory of what was spooled."""
    kept = world.spool.contents
    return [
        type(each).__name__
        for each in gc.get_objects()
        if each is not kept
        for held in gc.get_referents(each)
        if isinstance(held, bytes) and len(held) > LARGE and MARK in held
    ]


def left_over() -> list[str]:
    kinds = Session | Policing | Asking | Record
    return [type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds)]


async def hangs(*_: object) -> MessageVerdict:
    await trio.sleep_forever()
    raise AssertionError


async def reads(_: MailTransaction, message: Message) -> MessageVerdict:
    assert message.named("x-large")
    pieces = [piece async for piece in message.chunks()]
    await trio.sleep(10)
    assert pieces
    return CONTINUE


async def reads_in_tasks(_: MailTransaction, message: Message) -> MessageVerdict:
    body = message.body

    async def child() -> None:
        await trio.sleep(10)
        assert body

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
        with trio.fail_after(20):
            await child()
    return CONTINUE


async def raises(_: MailTransaction, message: Message) -> MessageVerdict:
    body = message.body
    await trio.sleep(10)
    raise OSError(body and "no such file")


async def raises_at_once(_: MailTransaction, message: Message) -> MessageVerdict:
    body = message.body
    raise OSError(body and "no such file")


async def runs_late(_: MailTransaction, message: Message) -> MessageVerdict:
    body = message.body
    await trio.sleep(100)
    assert body
    return CONTINUE


async def shields(_: MailTransaction, message: Message) -> MessageVerdict:
    body = message.body
    with trio.CancelScope(shield=True):
        await trio.sleep(60)
    assert body
    return CONTINUE


async def corrupts(_: MailTransaction, message: Message) -> MessageVerdict:
    body = message.body
    await trio.sleep(10)
    trio.CancelScope().__enter__()
    assert body
    return CONTINUE


HOOKS = [says(CONTINUE, 10), reads, reads_in_tasks, raises, runs_late, shields, corrupts]


async def sends(world: World, content: str = CONTENT) -> Any:
    """A client whose final dot is not answered yet."""
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    for _ in range(3):
        last = await client.hear()
    assert last.startswith("354")
    await client.raw(f"{content}.\r\n".encode())
    await wait_all_tasks_blocked()
    return client


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.OBSERVE])
@pytest.mark.parametrize("way", ["reset", "half-close", "quit", "stay"])
@pytest.mark.parametrize("hook", HOOKS)
async def test_octets_go_with_the_session_and_with_the_message(
    autojump_clock: MockClock, world: World, hook: Hook, way: str, mode: Mode
) -> None:
    world.police(*(policy(on_message=hook) for _ in range(4)), mode=mode, timeout=20)
    client = await sends(world)
    assert holders(world)
    match way:
        case "reset":
            client.transport.abort()
        case "half-close":
            client.transport.end_output()
        case _:
            assert await client.hear()
    if way == "quit":
        with suppress(TransportError):  # some cost the session a 421
            await client.say("QUIT")
    await trio.sleep(100)
    assert holders(world) == []


async def test_octets_go_although_a_policy_raises_before_it_waits(
    autojump_clock: MockClock, world: World
) -> None:
    world.police(*(policy(on_message=raises_at_once) for _ in range(4)))
    await sends(world)
    assert holders(world) == []


@pytest.mark.parametrize("hook", HOOKS)
async def test_octets_go_with_a_session_that_a_drain_cancels(
    autojump_clock: MockClock, world: World, hook: Hook
) -> None:
    world.police(*(policy(on_message=hook) for _ in range(4)), timeout=20)
    async with trio.open_nursery() as world.nursery:
        await sends(world)
        assert holders(world)
        world.nursery.cancel_scope.cancel()
    world.nursery = None
    assert holders(world) == []


@pytest.mark.parametrize("delay_reject", [True, False])
@pytest.mark.parametrize("stage", ["on_connect", "on_ehlo", "on_mail", "on_rcpt"])
async def test_a_session_that_is_lost_leaves_nothing_for_the_collector(
    autojump_clock: MockClock, world: World, stage: str, delay_reject: bool
) -> None:
    """Stages know those before them, and are known by them, so that one can cut the other."""
    world.set(delay_reject=delay_reject)
    world.police(policy(**{stage: says(CONTINUE, 30)}), policy(on_rcpt=hangs), timeout=60)
    client = world.connect()
    await client.say("EHLO client.example", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
    await wait_all_tasks_blocked()
    await trio.sleep(1)
    assert left_over()
    client.transport.abort()
    await trio.sleep(5)
    assert left_over() == []


@pytest.mark.parametrize("way", ["reset", "half-close", "silence"])
@pytest.mark.parametrize("times", [1, 5])
async def test_octets_go_with_a_client_that_never_sent_its_final_dot(
    autojump_clock: MockClock, world: World, way: str, times: int
) -> None:
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    await client.raw(CONTENT.encode() * times)
    await wait_all_tasks_blocked()
    assert times > 1 or holders(world)  # else most of it is in a file
    if way == "reset":
        client.transport.abort()
    elif way == "half-close":
        client.transport.end_output()
    await trio.sleep(1000)
    assert world.edge.gauges()["sessions"] == 0
    assert holders(world) == []


async def test_octets_go_when_the_disk_takes_no_more(
    autojump_clock: MockClock, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused for want of room must not want room in memory."""
    create = world.disk.create

    def full(_: memoryview) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    def new(name: str) -> ContentFile:
        file: ContentFile = create(name)
        monkeypatch.setattr(file, "write", full, raising=False)
        return file

    monkeypatch.setattr(world.disk, "create", new)
    client = await sends(world, CONTENT * 5)
    assert (await client.hear()).startswith("452 4.3.1")
    assert holders(world) == []
