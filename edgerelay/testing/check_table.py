"""The contract of `Table`, for every form that keeps one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import trio

from edgerelay.runtime import Clock
from edgerelay.tables.api import KEY_LIMIT, Tables


class HandClock:
    """A wall clock that stands still until it is moved. Seconds since the epoch."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


#: Opens empty tables that read that clock.
OpenTables = Callable[[Clock], AbstractAsyncContextManager[Tables]]


async def check_table(open_tables: OpenTables) -> None:
    """Assert the whole contract."""
    for check in (
        what_is_put_is_got_until_it_ends,
        a_put_replaces,
        tables_do_not_see_each_other,
        the_first_setdefault_stands,
        setdefault_is_atomic,
        an_update_sees_what_stands,
        updates_are_atomic,
        what_is_deleted_is_gone,
        any_octets_under_any_key,
        a_key_has_a_bound,
    ):
        clock = HandClock()
        async with open_tables(clock) as tables:
            with trio.fail_after(20):
                await check(tables, clock)


async def what_is_put_is_got_until_it_ends(tables: Tables, clock: HandClock) -> None:
    table = tables.table("t")
    assert await table.get("key") is None
    await table.put("key", b"value", expires_in=60)
    assert await table.get("key") == b"value"
    clock.now += 59
    assert await table.get("key") == b"value"
    clock.now += 1
    assert await table.get("key") is None


async def a_put_replaces(tables: Tables, clock: HandClock) -> None:
    table = tables.table("t")
    await table.put("key", b"old", expires_in=60)
    await table.put("key", b"new", expires_in=120)
    clock.now += 100
    assert await table.get("key") == b"new"


async def tables_do_not_see_each_other(tables: Tables, clock: HandClock) -> None:
    await tables.table("one").put("key", b"1", expires_in=60)
    assert await tables.table("two").get("key") is None
    assert await tables.table("one").get("key") == b"1"


async def the_first_setdefault_stands(tables: Tables, clock: HandClock) -> None:
    table = tables.table("t")
    assert await table.setdefault("key", b"first", expires_in=60) == b"first"
    assert await table.setdefault("key", b"second", expires_in=600) == b"first"
    clock.now += 61  # the second did not prolong the first
    assert await table.setdefault("key", b"third", expires_in=60) == b"third"
    assert await table.get("key") == b"third"
    assert await table.setdefault("empty", b"", expires_in=60) == b""
    assert await table.setdefault("empty", b"more", expires_in=60) == b""


async def setdefault_is_atomic(tables: Tables, clock: HandClock) -> None:
    standing: list[bytes] = []

    async def claim(number: int) -> None:
        value = b"%d" % number
        standing.append(await tables.table("t").setdefault("key", value, expires_in=60))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(claim, number)
    assert len(set(standing)) == 1


async def an_update_sees_what_stands(tables: Tables, clock: HandClock) -> None:
    table = tables.table("t")
    seen: list[bytes | None] = []

    def change(value: bytes | None) -> tuple[bytes, float] | None:
        seen.append(value)
        return (b"new", 60) if value is None else None

    assert await table.update("key", change) == b"new"
    assert await table.get("key") == b"new"
    assert await table.update("key", change) == b"new"
    clock.now += 60
    assert await table.update("key", lambda value: None) is None
    assert seen == [None, b"new"]


async def updates_are_atomic(tables: Tables, clock: HandClock) -> None:
    table = tables.table("t")

    async def count() -> None:
        for _ in range(20):
            await table.update("key", lambda value: (b"x" + (value or b""), 60))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(count)
    assert await table.get("key") == b"x" * 100


async def what_is_deleted_is_gone(tables: Tables, clock: HandClock) -> None:
    table = tables.table("t")
    await table.put("key", b"value", expires_in=60)
    await table.delete("key")
    await table.delete("never there")
    assert await table.get("key") is None


async def any_octets_under_any_key(tables: Tables, clock: HandClock) -> None:
    table = tables.table("t")
    for key in ("", "jürgen@example.com", 'a "quoted"; DROP TABLE', "\n", "%"):
        await table.put(key, key.encode() + bytes(range(256)), expires_in=60)
    for key in ("", "jürgen@example.com", 'a "quoted"; DROP TABLE', "\n", "%"):
        assert await table.get(key) == key.encode() + bytes(range(256))


async def a_key_has_a_bound(tables: Tables, clock: HandClock) -> None:
    table = tables.table("t")
    await table.put("k" * KEY_LIMIT, b"value", expires_in=60)
    for key in ("k" * (KEY_LIMIT + 1), "é" * (KEY_LIMIT // 2 + 1)):
        for call in (table.get(key), table.put(key, b"", expires_in=60), table.delete(key)):
            try:
                await call
            except ValueError:
                continue
            raise AssertionError("a key over the limit was taken")
