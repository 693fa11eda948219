"""The order of addresses, and for how long a failure is remembered."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from edgerelay.mail.reply import Reply
from edgerelay.relay.connection import Target
from edgerelay.relay.finding import Address, Candidates, Found, NotFound
from edgerelay.relay.hops import AVOIDED_FOR, PLAIN_FOR, HopMemory, Hops
from edgerelay.relay.routing import LaneSpec
from edgerelay.relay.settings import HopKind, HopTls, NextHop

GONE = Reply(451, "4.4.3", "no answer")


class Names:
    """Two addresses a host; "gone" has none."""

    async def find(self, hop: NextHop, domain: str) -> Candidates:
        if hop.host == "gone":
            return NotFound(GONE)
        return Found(tuple(Address(f"{hop.host}.{n}", hop.port, hop.host) for n in (1, 2)))


def spec(*hosts: str, tls: HopTls = HopTls.OPPORTUNISTIC) -> LaneSpec:
    hops = tuple(NextHop(HopKind.SMTP, host=host, port=25) for host in hosts)
    return LaneSpec(",".join(hosts), hops, tls)


async def order(hops: Hops) -> list[str]:
    return [
        str(one) if isinstance(one, Target) else str(one.reply) async for one in hops.targets()
    ]


async def test_hops_then_addresses(autojump_clock: MockClock) -> None:
    hops = Hops(spec("a", "gone", "b"), Names())
    assert await order(hops) == ["a.1:25", "a.2:25", str(GONE), "b.1:25", "b.2:25"]


async def test_what_failed_is_last_for_a_while(autojump_clock: MockClock) -> None:
    hops = Hops(spec("a", "b"), Names())
    first = Target(HopKind.SMTP, ("a.1", 25), "a")
    hops.failed(first)
    assert await order(hops) == ["a.2:25", "b.1:25", "b.2:25", "a.1:25"]
    await trio.sleep(AVOIDED_FOR + 1)
    assert (await order(hops))[0] == "a.1:25"
    hops.failed(first)
    hops.worked(first)
    assert (await order(hops))[0] == "a.1:25"


async def test_a_failed_handshake_counts_for_opportunistic_rules_only(
    autojump_clock: MockClock,
) -> None:
    target = Target(HopKind.SMTP, ("a.1", 25), "a")
    for rule in HopTls:
        hops = Hops(spec("a", tls=rule), Names())
        hops.handshake_failed(target)
        expected = HopTls.OFF if rule is HopTls.OPPORTUNISTIC else rule
        assert hops.rule_for(target) is expected
        await trio.sleep(PLAIN_FOR + 1)
        assert hops.rule_for(target) is rule


def test_memory_is_bounded() -> None:
    memory = HopMemory(Names())
    kept = memory.of(spec("kept"))
    for number in range(3000):
        memory.of(spec(f"host{number}"))
        assert memory.of(spec("kept")) is kept
    assert len(memory) <= 1000
