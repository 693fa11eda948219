"""pipeline.py: what the pipeline's own machinery costs, and how long policies wait for the DNS.

Microseconds of CPU for a message stage, best of several rounds: policies that answer at once,
that wait once, and that are observed. Then, in virtual time with 30 ms for each DNS question,
how long SPF with three includes, DKIM and greylisting take in all, against the longest chain of
questions that depend on each other.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, cast

import trio
from rich.console import Console
from rich.table import Table
from trio.testing import MockClock

from edgerelay.dns.caching import CachingResolver
from edgerelay.mail.address import NULL_REVERSE_PATH, ReversePath
from edgerelay.mail.envelope import Envelope
from edgerelay.pipeline import Configured, Conversation, Mode, Plan, PolicySettings
from edgerelay.pipeline.message import read_message
from edgerelay.pipeline.policies import open_policies
from edgerelay.pipeline.services import RelayServices
from edgerelay.policy import (
    CONTINUE,
    Answer,
    ForwardPath,
    Mailbox,
    MailTransaction,
    Message,
    MessageVerdict,
    Policy,
    Services,
    Session,
)
from edgerelay.runtime import inline
from edgerelay.tables.memory import MemoryTables
from edgerelay.testing.literal_dns import LiteralResolver, Zone
from edgerelay.testing.messages import TEST_KEYS, build_message, dkim_records, sign

DNS_DELAY = 0.030  # seconds
NOTHING = cast(Services, None)
MESSAGE = cast(Message, None)
SESSION = Session(ip_address("192.0.2.1"), "TOKEN")
PATH = ForwardPath(Mailbox("a", "b.example"))


class Quick(Policy[Any]):
    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        return CONTINUE


class Waits(Policy[Any]):
    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        await trio.lowlevel.checkpoint()
        return CONTINUE


async def cost(work: Callable[[], Awaitable[None]], rounds: int, each: int) -> float:
    """Microseconds of CPU, of the best round."""
    best = float("inf")
    for _ in range(rounds):
        gc.collect()
        started = time.process_time()
        for _ in range(each):
            await work()
        best = min(best, (time.process_time() - started) / each * 1e6)
    return best


async def stage(plan: Plan, nursery: trio.Nursery) -> Callable[[], Awaitable[None]]:
    """A message stage with one recipient, over and over, until its last task has ended."""
    talk = Conversation(plan, nursery, SESSION, lambda _: None)
    talk.mail(Envelope(NULL_REVERSE_PATH)).start()
    nobody = await talk.rcpt(PATH)

    async def once() -> None:
        talk.accepted(PATH, nobody)
        await talk.message(MESSAGE)
        while nursery.child_tasks:
            await trio.lowlevel.checkpoint()

    return once


async def stages(rounds: int, each: int) -> Table:
    table = Table(title="A message stage: us of CPU", box=None)
    table.add_column("policies")
    table.add_column("us", justify="right")
    cases: list[tuple[str, list[type[Policy[Any]]], Mode]] = [
        ("none", [], Mode.ENFORCE),
        ("1 quick", [Quick], Mode.ENFORCE),
        ("5 quick", [Quick] * 5, Mode.ENFORCE),
        ("10 quick", [Quick] * 10, Mode.ENFORCE),
        ("1 waits", [Waits], Mode.ENFORCE),
        ("1 waits, 4 quick", [Waits, *[Quick] * 4], Mode.ENFORCE),
        ("4 quick, 1 waits", [*[Quick] * 4, Waits], Mode.ENFORCE),
        ("5 wait", [Waits] * 5, Mode.ENFORCE),
        ("5 observed", [Quick] * 5, Mode.OBSERVE),
    ]
    async with trio.open_nursery() as nursery:
        for label, kinds, mode in cases:
            plan = Plan(
                [
                    Configured(f"p{index}", kind, kind(None, NOTHING), mode)
                    for index, kind in enumerate(kinds)
                ]
            )
            table.add_row(label, f"{await cost(await stage(plan, nursery), rounds, each):.1f}")
    return table


class SlowResolver:
    """Answers from a zone, each question after so many seconds; and how long chains were."""

    def __init__(self, zone: Zone, delay: float) -> None:
        self._literal = LiteralResolver(zone)
        self._delay = delay

    async def resolve(self, name: str, rdtype: str) -> Answer:
        await trio.sleep(self._delay)
        return await self._literal.resolve(name, rdtype)


class Content:
    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.size = len(octets)

    def whole(self) -> bytes:
        return self._octets

    async def read(self, offset: int, length: int) -> bytes:
        return self._octets[offset : offset + length]


async def latency() -> Table:
    """A client that never lets us wait, all answers new, a friend of greylisting."""
    key = TEST_KEYS["ed25519"]
    ip4 = "v=spf1 ip4:{} -all"
    zone: Zone = {
        ("helo.example", "TXT"): [(ip4.format("192.0.2.1").encode(),)],
        ("a.example", "TXT"): [
            (b"v=spf1 include:x.example include:y.example include:z.example -all",)
        ],
        **{
            (f"{label}.example", "TXT"): [(ip4.format(address).encode(),)]
            for label, address in (
                ("x", "198.51.100.1"),
                ("y", "198.51.100.2"),
                ("z", "192.0.2.1"),
            )
        },
        **dkim_records("a.example", "s1", key),
    }
    message = sign(build_message(sender="u@a.example"), "a.example", "s1", key)
    now = 1_800_000_000.0
    tables = MemoryTables(lambda: now)

    async with trio.open_nursery() as nursery:
        resolver = CachingResolver(SlowResolver(zone, DNS_DELAY), nursery)

        def services(settings: PolicySettings) -> Services:
            return RelayServices(
                settings.name,
                observed=False,
                hostname="mx.example",
                resolver=resolver,
                tables=tables,
                clock=lambda: now,
                observer=lambda _: None,
                run_blocking=inline,
            )

        used = [PolicySettings(name, name) for name in ("spf", "dkim", "greylisting")]
        friend = tables.table("policy:greylisting")
        await friend.put("k d a.example", b"5 %d" % now, expires_in=1e6)
        async with open_policies(used, services, lambda _: None) as policies:
            started = trio.current_time()
            session = replace(SESSION, helo="helo.example")
            talk = Conversation(policies.plan_for(session.client), nursery, session, print)
            talk.mail(Envelope(ReversePath(Mailbox("u", "a.example")))).start()
            talk.accepted(PATH, await talk.rcpt(PATH))
            at_rcpt = trio.current_time() - started
            outcome = await talk.message(await read_message(Content(message)))
            took = trio.current_time() - started
        nursery.cancel_scope.cancel()
    results = [
        f"{one.method}={one.result}"
        for evidence in outcome.evidence
        for one in evidence.authentication_results
    ]
    assert results == ["spf=pass", "spf=pass", "dkim=pass"], results
    # The record, then its includes; the key's name is known once the message is there.
    chain = 3 * DNS_DELAY
    table = Table(title=f"SPF, DKIM, greylisting; {DNS_DELAY * 1e3:.0f} ms a question", box=None)
    for name in ("until", "ms", "longest chain, ms", "ratio"):
        table.add_column(name, justify="right")
    for until, seconds, longest in (("RCPT", at_rcpt, chain * 2 / 3), ("dot", took, chain)):
        row = (seconds * 1e3, longest * 1e3, seconds / longest)
        table.add_row(until, f"{row[0]:.0f}", f"{row[1]:.0f}", f"{row[2]:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--each", type=int, default=3000)
    options = parser.parse_args()
    console = Console()
    console.print(trio.run(stages, options.rounds, options.each))
    console.print(trio.run(latency, clock=MockClock(autojump_threshold=0)))


if __name__ == "__main__":
    main()
