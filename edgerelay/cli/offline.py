"""The queue of a relay that is not running: its shards, opened one after the other."""

from __future__ import annotations

import time
from pathlib import Path

import trio

from edgerelay.cli.output import complain
from edgerelay.control.merge import merge
from edgerelay.control.messages import Failure, QueueAct, QueueList, QueueShow, Response
from edgerelay.control.queue import OfflineOperator, answer_queue
from edgerelay.observe.events import Event, Trouble
from edgerelay.runtime import in_thread
from edgerelay.spool import open_spool
from edgerelay.spool.api import SpoolError

_clock = time.time  # noqa: TID251 - the real clock of a command


def answer_offline(spool: Path, request: QueueList | QueueShow | QueueAct) -> Response:
    """Ask every shard. The caller holds the lock that keeps a relay from starting."""
    answers: list[Response] = []
    for shard in sorted(path for path in spool.glob("*") if (path / "spool.db").is_file()):
        try:
            answers.append(trio.run(_ask_shard, shard, request))
        except SpoolError as error:
            answers.append(Failure(text=f"shard {shard.name}: {error}"))
    return merge(request, answers)


async def _ask_shard(shard: Path, request: QueueList | QueueShow | QueueAct) -> Response:
    async with open_spool(
        shard, run_blocking=in_thread, clock=_clock, observer=_tell, min_free_space=0
    ) as spool:
        return await answer_queue(request, spool, OfflineOperator(spool, _clock), _clock)


def _tell(event: Event, /) -> None:
    if isinstance(event, Trouble):
        complain(f"{event.where}: {event.what} {event.detail}".rstrip())
