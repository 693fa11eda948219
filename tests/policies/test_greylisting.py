"""Greylisting as senders meet it: strangers come again, friends are let through."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerelay.mail.envelope import Envelope
from edgerelay.policy import (
    CONTINUE,
    Defer,
    DkimOutcome,
    DkimResult,
    DkimSignature,
    Evidence,
    ForwardPath,
    Mailbox,
    MailTransaction,
    Message,
    ReversePath,
    Session,
    SpfCheck,
    SpfOutcome,
    SpfResult,
    TableError,
    Verdict,
)
from edgerelay.runtime import in_thread, inline
from edgerelay.tables import SqliteTables
from edgerelay.testing.cancel import cancel_at_every_checkpoint
from edgerelay_policies.greylisting import COME_AGAIN, DAY, Greylisting, Options
from tests.policies.services import Given, LentServices

MINUTE = 60.0
STRANGER = Session(ip_address("192.0.2.7"), "TOKEN")


class World:
    def __init__(self, services: LentServices | None = None, **options: Any) -> None:
        self.services = services or LentServices()
        self.policy = Greylisting(replace(Options(), **options), self.services)

    async def mail(
        self,
        sender: str | None = "ann@sender.example",
        to: str = "bob@example.org",
        session: Session = STRANGER,
        evidence: tuple[Evidence, ...] = (),
    ) -> Verdict:
        path = ReversePath(None if sender is None else Mailbox.from_text(sender))
        transaction = MailTransaction(Given(*evidence), session, Envelope(path), ())
        return await self.policy.on_rcpt(transaction, ForwardPath(Mailbox.from_text(to)))

    async def met(self, **more: Any) -> None:
        assert await self.mail(**more) == COME_AGAIN
        self.services.clock += 6 * MINUTE
        assert await self.mail(**more) == CONTINUE


def spf(domain: str, outcome: SpfOutcome = SpfOutcome.PASS) -> tuple[Evidence, ...]:
    return (SpfResult((SpfCheck("mailfrom", outcome, domain, f"ann@{domain}"),)),)


async def test_a_stranger_is_deferred_and_accepted_at_the_retry() -> None:
    world = World()
    first = await world.mail()
    assert isinstance(first, Defer)
    assert (first.reply.code, first.reply.enhanced) == (451, "4.7.1")
    world.services.clock += 4 * MINUTE
    assert await world.mail() == COME_AGAIN  # too early, and the time runs on
    world.services.clock += 1 * MINUTE
    assert await world.mail() == CONTINUE
    assert await world.mail() == CONTINUE


async def test_a_retry_comes_from_the_neighbourhood_or_from_nobody_we_met() -> None:
    world = World(delay=60.0)
    await world.mail()
    world.services.clock += 2 * MINUTE
    neighbour = Session(ip_address("192.0.2.99"), "TOKEN")
    stranger = Session(ip_address("198.51.100.1"), "TOKEN")
    assert await world.mail(session=stranger) == COME_AGAIN
    assert await world.mail(session=neighbour) == CONTINUE


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
    ],
)
async def test_a_network_is_known_as_one(one: str, other: str, same: bool) -> None:
    world = World(delay=60.0)
    await world.mail(session=Session(ip_address(one), "T"))
    world.services.clock += 2 * MINUTE
    verdict = await world.mail(session=Session(ip_address(other), "T"))
    assert (verdict == CONTINUE) is same


async def test_each_sender_and_recipient_is_met_by_itself() -> None:
    world = World()
    await world.met()
    assert await world.mail(to="cat@example.org") == COME_AGAIN
    assert await world.mail(sender="dan@sender.example") == COME_AGAIN
    assert await world.mail(sender=None) == COME_AGAIN
    assert await world.mail(sender="ann@SENDER.example") == CONTINUE


async def test_who_comes_too_late_is_a_stranger_again() -> None:
    world = World()
    await world.mail()
    world.services.clock += 2 * DAY + 1
    assert await world.mail() == COME_AGAIN


async def test_who_is_known_is_known_for_as_long_as_he_writes() -> None:
    world = World(auto_allow_after=100)
    await world.met()
    for _ in range(5):
        world.services.clock += 30 * DAY
        assert await world.mail() == CONTINUE
    world.services.clock += 37 * DAY
    assert await world.mail() == COME_AGAIN


async def test_friends_cost_no_write(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(auto_allow_after=3)
    for number in range(3):
        await world.met(to=f"user{number}@example.org")
    written: list[str] = []
    table = world.services.tables.table("policy")
    put = table.put

    async def counted(key: str, value: bytes, *, expires_in: float) -> None:
        written.append(key)
        await put(key, value, expires_in=expires_in)

    monkeypatch.setattr(table, "put", counted)
    for number in range(50):
        assert await world.mail(to=f"new{number}@example.org") == CONTINUE
    assert written == []
    world.services.clock += DAY + 1
    for number in range(50):
        assert await world.mail(to=f"new{number}@example.org") == CONTINUE
    assert written == ["k n 192.0.2.0/24"]  # once a day, so that it lasts


async def test_a_domain_that_vouches_for_its_clients_is_met_once() -> None:
    world = World()
    assert await world.mail(evidence=spf("big.example")) == COME_AGAIN
    world.services.clock += 6 * MINUTE
    elsewhere = Session(ip_address("198.51.100.1"), "TOKEN")
    assert await world.mail(session=elsewhere, evidence=spf("big.example")) == CONTINUE
    # Known by now: neither another client nor another recipient is asked to come again.
    other = {"session": Session(ip_address("203.0.113.5"), "T"), "to": "cat@example.org"}
    assert await world.mail(evidence=spf("BIG.example"), **other) == CONTINUE  # type: ignore[arg-type]
    assert await world.mail(evidence=spf("other.example"), **other) == COME_AGAIN  # type: ignore[arg-type]
    softfail = spf("big.example", SpfOutcome.SOFTFAIL)
    assert await world.mail(evidence=softfail, **other) == COME_AGAIN  # type: ignore[arg-type]


async def test_trusted_and_authenticated_clients_are_no_strangers() -> None:
    world = World()
    assert await world.mail(session=replace(STRANGER, is_trusted=True)) == CONTINUE
    logged_in = replace(STRANGER, is_authenticated=True)
    assert await world.mail(session=logged_in) == CONTINUE
    assert await World(skip_authenticated=False).mail(session=logged_in) == COME_AGAIN
    assert await world.mail(session=replace(STRANGER, client=None)) == CONTINUE


async def test_after_the_dot_dkim_counts_too() -> None:
    world = World(decide="data")
    assert await world.mail() == CONTINUE
    signed = DkimResult((DkimSignature(DkimOutcome.PASS, "signer.example"),))

    async def message(client: str) -> object:
        session = Session(ip_address(client), "T")
        paths = tuple(ForwardPath(Mailbox(name, "example.org")) for name in "bc")
        envelope = Envelope(ReversePath(Mailbox("ann", "sender.example")))
        transaction = MailTransaction(Given(signed), session, envelope, paths)
        return await world.policy.on_message(transaction, cast("Message", None))

    assert await message("192.0.2.7") == COME_AGAIN
    world.services.clock += 6 * MINUTE
    assert await message("198.51.100.1") == CONTINUE
    assert await message("203.0.113.9") == CONTINUE


async def test_a_broken_table_is_the_policys_own_failure() -> None:
    class Broken:
        async def get(self, key: str) -> bytes | None:
            raise TableError("disk on fire")

    class Tables:
        def table(self, name: str) -> Broken:
            return Broken()

    world = World(LentServices(tables=Tables()))  # type: ignore[arg-type]  # broken on purpose
    with pytest.raises(TableError):
        await world.mail()


async def test_hostile_addresses_make_keys_of_one_size() -> None:
    world = World()
    await world.mail(sender=f"{'x' * 5000}@sender.example", to=f"{'é' * 900}@example.org")
    assert await world.mail(sender="a b@c.example") == COME_AGAIN


async def test_a_retry_on_the_other_worker_passes(tmp_path: Path) -> None:
    services = [LentServices(), LentServices()]
    async with (
        SqliteTables(tmp_path / "tables.db", in_thread, services[0].now) as one,
        SqliteTables(tmp_path / "tables.db", in_thread, services[1].now) as other,
    ):
        services[0].tables, services[1].tables = one, other
        assert await World(services[0]).mail() == COME_AGAIN
        services[1].clock += 6 * MINUTE
        assert await World(services[1]).mail() == CONTINUE


async def test_two_workers_count_a_retry_once(tmp_path: Path) -> None:
    services = [LentServices(), LentServices()]
    async with (
        SqliteTables(tmp_path / "tables.db", in_thread, services[0].now) as one,
        SqliteTables(tmp_path / "tables.db", in_thread, services[1].now) as other,
    ):
        services[0].tables, services[1].tables = one, other
        worlds = [World(each) for each in services]
        await worlds[0].mail()
        for each in services:
            each.clock += 6 * MINUTE
        async with trio.open_nursery() as nursery:
            for world in worlds * 10:
                nursery.start_soon(world.mail)
        counted = await one.table("policy").get("k n 192.0.2.0/24")
        assert counted is not None
        assert counted.startswith(b"1 ")


async def test_a_cancelled_question_leaves_the_table_sound() -> None:
    async def scenario() -> None:
        services = LentServices()
        async with SqliteTables(":memory:", inline, services.now) as tables:
            services.tables = tables
            await World(services).met()

    assert await cancel_at_every_checkpoint(scenario) > 3


events = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.floats(0.0, 3 * DAY, allow_nan=False)), max_size=12
)


@settings(max_examples=100, deadline=None)
@given(events)
def test_nobody_passes_before_the_delay_and_who_passed_is_known(
    attempts: list[tuple[str, float]],
) -> None:
    async def run() -> None:
        world = World(auto_allow_after=1000)
        first: dict[str, float] = {}
        known: dict[str, float] = {}  # until when
        for who, wait in attempts:
            world.services.clock += wait
            now = world.services.clock
            verdict = await world.mail(sender=f"{who}@sender.example")
            if who in known and now < known[who]:
                assert verdict == CONTINUE
            elif verdict == CONTINUE:
                assert 300 <= now - first[who] <= 2 * DAY
            if verdict == CONTINUE:
                known[who] = now + 35 * DAY
            elif who not in first or now - first[who] >= 2 * DAY:
                first[who] = now

    trio.run(run)
