"""The spool on a disk, with its blocking calls in threads, is a spool."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from edgerelay.runtime import in_thread
from edgerelay.spool import open_spool
from edgerelay.testing.check_spool import ARRIVED, check_spool


async def test_the_directory_form_passes_the_contract(tmp_path: Path) -> None:
    numbers = count()

    def make() -> open_spool:
        return open_spool(
            tmp_path / f"shard-{next(numbers)}",
            run_blocking=in_thread,
            clock=lambda: ARRIVED,
            observer=lambda _: None,
        )

    await check_spool(make)
