"""What a policy is lent is its own, is bounded, and is told of under its name."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from weakref import ref

import pytest
import trio
from trio.testing import MockClock

from edgerelay.observe.events import Event, PolicyNote
from edgerelay.pipeline.services import RelayServices
from edgerelay.policy import Services
from edgerelay.runtime import inline
from edgerelay.tables.memory import MemoryTables
from edgerelay.testing.literal_dns import Fault, LiteralResolver, Zone

ZONE: Zone = {("scanner.test", "A"): ["127.0.0.1"], ("silent.test", "A"): Fault.TIMEOUT}


class Setup:
    def __init__(self, name: str = "spf", *, observed: bool = False) -> None:
        self.events: list[Event] = []
        self.tables = MemoryTables(lambda: 1000.0)
        self.names: dict[str, Sequence[str]] = {}
        self.services = RelayServices(
            name,
            observed=observed,
            hostname="mx.test",
            resolver=LiteralResolver(ZONE),
            tables=self.tables,
            clock=lambda: 1234.5,
            observer=self.events.append,
            hosts=self._hosts,
        )

    async def _hosts(self, name: str) -> Sequence[str]:
        return self.names.get(name, ())


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_it_is_what_the_public_module_promises(setup: Setup) -> None:
    services: Services = setup.services
    assert (services.hostname, services.now()) == ("mx.test", 1234.5)


async def test_tables_of_policies_and_of_observers_are_apart() -> None:
    tables = MemoryTables(lambda: 0.0)
    seen = {}
    for name, observed in (("a", False), ("a", True), ("b", False)):
        one = Setup(name, observed=observed)
        lent = RelayServices(
            name,
            observed=observed,
            hostname="mx.test",
            resolver=one.services.dns,
            tables=tables,
            clock=lambda: 0.0,
            observer=one.events.append,
        )
        for table in ("", "more"):
            key = (name, observed, table)
            assert await lent.table(table).get("x") is None
            await lent.table(table).put("x", repr(key).encode(), expires_in=9)
            seen[key] = lent.table(table)
    for key, table_ in seen.items():
        assert await table_.get("x") == repr(key).encode()


async def test_enforced_policies_have_tables_named_after_them(setup: Setup) -> None:
    await setup.services.table().put("k", b"1", expires_in=9)
    await setup.services.table("more").put("k", b"2", expires_in=9)
    assert await setup.tables.table("policy:spf").get("k") == b"1"
    assert await setup.tables.table("policy:spf:more").get("k") == b"2"


def test_a_note_is_an_event_that_names_the_policy(setup: Setup) -> None:
    setup.services.log("seen", client="192.0.2.1", times=3)
    assert setup.events == [
        PolicyNote(policy="spf", text="seen", facts={"client": "192.0.2.1", "times": "3"})
    ]


class Unwritable:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_a_note_is_bounded_and_escaped_whatever_it_is_about(setup: Setup) -> None:
    facts: dict[str, object] = {f"fact{n}": "y" * 10_000 for n in range(100)}
    setup.services.log("x\r\n" * 10_000, **{"odd": Unwritable(), "a\nb": "\x1b[2J"}, **facts)
    (note,) = setup.events
    assert isinstance(note, PolicyNote)
    assert len(note.text) < 1100
    assert "\n" not in note.text
    assert len(note.facts) == 16
    assert note.facts["odd"] == "(RuntimeError)"
    assert note.facts[r"a\nb"] == r"\x1b[2J"
    assert max(map(len, note.facts.values())) < 400


@pytest.fixture
def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@pytest.mark.parametrize("host", ["127.0.0.1", "scanner.test", "localhost", "Box"])
async def test_a_scanner_is_found_by_address_by_name_and_in_the_hosts_file(
    setup: Setup, listening: socket.socket, host: str
) -> None:
    setup.names["box"] = ["127.0.0.1"]
    with listening:
        stream = await setup.services.connect((host, listening.getsockname()[1]), timeout=5)
        await stream.aclose()


async def test_of_several_addresses_the_first_that_answers_is_taken(
    setup: Setup, listening: socket.socket
) -> None:
    setup.names["box"] = ["127.0.0.2", "127.0.0.1"]
    with listening:
        stream = await setup.services.connect(("box", listening.getsockname()[1]), timeout=5)
        await stream.aclose()


async def test_a_unix_socket_is_reached_by_its_path(setup: Setup, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        stream = await setup.services.connect(tmp_path / "s", timeout=5)
        await stream.aclose()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (("127.0.0.1", 1), "refused"),
        (("nowhere.test", 1), "nowhere.test port 1 has no address"),
        (("a..b", 1), "has no address"),
        ((r"a\b", 1), "has no address"),
        (("127.0.0.1", 70000), "."),
        (Path("/nowhere/socket"), "No such file"),
        (Path("/nowhere/\0"), "."),
        (Path("/" + "x" * 200), "too long"),
    ],
)
async def test_whatever_keeps_a_scanner_from_being_reached_is_an_oserror(
    setup: Setup, address: tuple[str, int] | Path, said: str
) -> None:
    with pytest.raises(OSError, match=said):
        await setup.services.connect(address, timeout=5)


async def test_the_timeout_is_for_the_names_too(setup: Setup, autojump_clock: MockClock) -> None:
    started = trio.current_time()
    with pytest.raises(TimeoutError, match=r"silent\.test port 9 in 3 s"):
        await setup.services.connect(("silent.test", 9), timeout=3)
    assert trio.current_time() - started == 3


async def test_blocking_work_runs_in_a_thread_of_which_a_policy_has_its_share(
    setup: Setup,
) -> None:
    assert await setup.services.run_blocking(threading.get_ident) != threading.get_ident()


async def test_a_thread_is_left_behind_when_nobody_waits_for_it_any_more(setup: Setup) -> None:
    go_on = threading.Event()
    try:
        async with trio.open_nursery() as nursery:
            started = trio.Event()
            token = trio.lowlevel.current_trio_token()

            def hang() -> bool:
                token.run_sync_soon(started.set)
                return go_on.wait(30)

            nursery.start_soon(setup.services.run_blocking, hang)
            await started.wait()
            nursery.cancel_scope.cancel()
        assert not go_on.is_set()
    finally:
        go_on.set()


async def test_under_virtual_time_another_way_may_be_lent(setup: Setup) -> None:
    services = RelayServices(
        "spf",
        observed=False,
        hostname="mx.test",
        resolver=setup.services.dns,
        tables=setup.tables,
        clock=lambda: 0.0,
        observer=setup.events.append,
        run_blocking=inline,
    )
    assert await services.run_blocking(threading.get_ident) == threading.get_ident()


async def test_a_connection_that_is_refused_holds_nothing_of_who_asked_for_it(
    setup: Setup,
) -> None:
    """That would be every message while a scanner is down, until the collector comes."""

    class Content:
        pass

    async def asks(address: tuple[str, int]) -> None:
        content = Content()
        contents.append(ref(content))
        await setup.services.connect(address, timeout=5)

    contents: list[ref[Content]] = []
    gc.disable()
    try:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # and does not listen
            with suppress(ConnectionRefusedError):
                await asks(nobody.getsockname())
        assert [content() for content in contents] == [None]
    finally:
        gc.enable()
