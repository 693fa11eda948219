"""What a shard does when it has a moment: return room, reserve ballast, try again.

Sleeps as long as nothing happens, so that days of virtual time pass at once.
"""

from __future__ import annotations

from typing import Final

import trio

from edgerelay.observe.events import Observer, Trouble
from edgerelay.spool.committer import Committer
from edgerelay.spool.disk import Disk
from edgerelay.spool.schema import PAGE_SIZE
from edgerelay.spool.space import Space
from edgerelay.spool.writer import Writer

PAUSE: Final = 1.0  #: seconds after a batch before anything is done
WAL_LIMIT: Final = 256 * 1024 * 1024  #: octets; more means that some reader holds the log
PAGES_KEPT: Final = 16 * 1024 * 1024 // PAGE_SIZE  #: free ones that new mail will use soon
VACUUM_PAGES: Final = 64  #: at once, 1 MiB: a few milliseconds
BREATH: Final = 0.05  #: seconds between those


class HouseKeeper:
    def __init__(self, committer: Committer, disk: Disk, space: Space, observer: Observer) -> None:
        self._committer = committer
        self._disk = disk
        self._space = space
        self._observer = observer
        self._surplus = 0  #: free pages
        self._log_is_long = False

    async def run(self) -> None:
        while True:
            if not self._has_work():
                await self._committer.activity.wait()
            self._committer.activity = trio.Event()
            await trio.sleep(PAUSE)
            if self._committer.is_shut:
                await self._committer.open_again()  # no mail is taken before, so nobody else may
            await self._tidy()
            await self._return_room()

    def _has_work(self) -> bool:
        committer = self._committer
        is_waited_for = committer.has_late_works or committer.is_shut
        return is_waited_for or self._space.lacks_ballast or self._surplus > 0

    async def _tidy(self) -> None:
        self._check_log()
        if self._committer.has_late_works:
            self._committer.retry()
        if octets := self._space.ballast_to_take:
            await self._committer.chore(lambda writer: writer.take_ballast(octets))
            self._space.ask_again()

    async def _return_room(self) -> None:
        """Free pages go back to the file system, a slice at a time, as long as nobody waits."""
        while self._committer.is_idle:
            self._surplus = 0  # if it fails, not again until the next transaction
            await self._committer.chore(self._return_pages)
            if not self._surplus:
                return
            await trio.sleep(BREATH)

    def _check_log(self) -> None:
        is_long = self._disk.wal_size() > WAL_LIMIT
        if is_long and not self._log_is_long:
            what = "the write-ahead log is over 256 MiB: something reads the spool all the time"
            self._observer(Trouble(where="spool", what=what))
        self._log_is_long = is_long

    def _return_pages(self, writer: Writer) -> None:
        kept = 0 if self._space.lacks_ballast else PAGES_KEPT
        surplus = writer.free_pages - kept
        if surplus > 0:
            writer.vacuum(min(surplus, VACUUM_PAGES))
        self._surplus = max(0, writer.free_pages - kept)
