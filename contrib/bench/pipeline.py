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
from ipaddress import ip_address
from typing import Any, cast

import trio
from rich.console import Console
from rich.table import Table

from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.mail.envelope import Envelope
from edgerelay.pipeline import Configured, Conversation, Mode, Plan
from edgerelay.policy import (
    CONTINUE,
    ForwardPath,
    Mailbox,
    MailTransaction,
    Message,
    MessageVerdict,
    Policy,
    Services,
    Session,
)

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--each", type=int, default=3000)
    options = parser.parse_args()
    Console().print(trio.run(stages, options.rounds, options.each))


if __name__ == "__main__":
    main()
