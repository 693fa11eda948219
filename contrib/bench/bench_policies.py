"""Policies as slow and as awkward as somebody else's may be, for the programs beside this one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from edgerelay.policy import (
    CONTINUE,
    Connection,
    Duration,
    ForwardPath,
    MailTransaction,
    Message,
    MessageVerdict,
    Policy,
)


@dataclass(frozen=True)
class ReaderOptions:
    takes: Duration = 0.0  #: seconds that a message takes
    fails_at: str = ""  #: raises where the subject has this word


class Reader(Policy[ReaderOptions]):
    """Reads all of a message, and has it in hand while it takes its time."""

    options_type = ReaderOptions

    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        pieces = [piece async for piece in message.chunks()]
        await trio.sleep(self.options.takes)
        word = self.options.fails_at.encode()
        if word and any(word in field.raw for field in message.named("subject")):
            raise ValueError(f"{sum(map(len, pieces))} octets are too many")
        return CONTINUE


class Slow(Policy[ReaderOptions]):
    """Has to wait at every stage before the message."""

    options_type = ReaderOptions

    async def on_connect(self, connection: Connection) -> MessageVerdict:
        return await self._wait()

    async def on_ehlo(self, connection: Connection) -> MessageVerdict:
        return await self._wait()

    async def on_mail(self, transaction: MailTransaction) -> MessageVerdict:
        return await self._wait()

    async def on_rcpt(
        self, transaction: MailTransaction, forward_path: ForwardPath
    ) -> MessageVerdict:
        return await self._wait()

    async def _wait(self) -> MessageVerdict:
        await trio.sleep(self.options.takes)
        return CONTINUE


def install(directory: Path) -> Mapping[str, str]:
    """Make a distribution of them; the environment in which a relay finds ``bench-reader`` and
    ``bench-slow``."""
    info = directory / "bench_policies-1.dist-info"
    info.mkdir(parents=True)
    shutil.copy(__file__, directory / "bench_policies.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-policies\nVersion: 1\n")
    points = "bench-reader = bench_policies:Reader\nbench-slow = bench_policies:Slow\n"
    (info / "entry_points.txt").write_text(f"[edgerelay.policies]\n{points}")
    found = [str(directory), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(found)}
