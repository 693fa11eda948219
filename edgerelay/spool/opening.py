"""A shard is opened, recovered, kept for the length of a block, and closed in order."""

from __future__ import annotations

import secrets
from pathlib import Path
from types import TracebackType
from typing import Final

import trio

from edgerelay.census import known
from edgerelay.observe.events import Observer, ShardRemoved, Trouble
from edgerelay.runtime import Clock, RunBlocking, inline
from edgerelay.spool.api import SpoolUnavailable
from edgerelay.spool.committer import Committer, Linger
from edgerelay.spool.content import ContentStore
from edgerelay.spool.disk import DirectoryDisk, Disk, MemoryDisk
from edgerelay.spool.housekeeping import HouseKeeper
from edgerelay.spool.queue_ids import TAG_BITS
from edgerelay.spool.recovery import Recovered
from edgerelay.spool.resident import ResidentContents
from edgerelay.spool.schema import Connect, connect
from edgerelay.spool.shard import Shard
from edgerelay.spool.space import Space
from edgerelay.spool.sqlite import SqliteSpool

#: Octets reserved at most: four times the log of 16 MiB (see `log_pages`).
BALLAST: Final = 64 * 1024 * 1024
MEMORY_BUDGET: Final = 64 * 1024 * 1024


class open_spool:
    """Own the shard in ``directory``, recover it, and keep it while the block lasts.

    ``min_free_space`` octets are left free. ``memory_budget`` octets of fresh content stay in
    memory for the first delivery. ``ballast`` octets are reserved for deletes on a full disk.
    ``connect`` and ``disk`` are the seams of failing disks; ``directory`` None keeps
    everything in memory. ``lasts``: what ``connect`` opens is still there when it is opened again
    after a disk error; by default, if there is a directory. Raises `SpoolLocked`,
    `SpoolTooNew`, `SpoolError`.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        run_blocking: RunBlocking,
        clock: Clock,
        observer: Observer,
        min_free_space: int = 0,
        memory_budget: int = MEMORY_BUDGET,
        ballast: int = BALLAST,
        linger: Linger | None = None,
        connect: Connect = connect,
        disk: Disk | None = None,
        tag: int | None = None,
        lasts: bool | None = None,
    ) -> None:
        self._directory = directory
        self._lasts = directory is not None if lasts is None else lasts
        self._run_blocking = run_blocking
        self._clock = clock
        self._observer = observer
        self._min_free_space = min_free_space
        self._memory_budget = memory_budget
        self._ballast = ballast
        self._linger = linger or Linger()
        self._connect = connect
        self._disk = disk
        self._tag = secrets.randbits(TAG_BITS) if tag is None else tag

    async def __aenter__(self) -> SqliteSpool:
        shard, recovered = await self._run_blocking(self._open)
        contents = ContentStore(shard.disk, self._run_blocking, recovered.epoch)
        resident = ResidentContents(self._memory_budget)
        space = Space(shard.disk, self._min_free_space, self._ballast)
        reading = trio.Lock()
        committer = Committer(
            shard,
            contents,
            resident,
            space,
            self._run_blocking,
            reading,
            self._observer,
            self._linger,
        )
        keeper = HouseKeeper(committer, shard.disk, space, self._observer)
        if not recovered.clean:
            self._observer(Trouble(where="spool", what="the last end was not clean: recovered"))
        committer.report(recovered.set_aside)
        self._shard = shard
        self._committer = committer
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        known(self._nursery, "services").start_soon(committer.run)
        self._nursery.start_soon(keeper.run)
        self._spool = SqliteSpool(
            shard,
            committer,
            contents,
            resident,
            space,
            self._run_blocking,
            reading,
            self._observer,
        )
        return self._spool

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The block's own exception passes by the nursery, which would wrap it in a group.
        self._committer.stop()
        self._nursery.cancel_scope.cancel()  # the committer is shielded, and ends by itself
        try:
            await self._nursery_manager.__aexit__(None, None, None)
        finally:
            with trio.CancelScope(shield=True):
                is_removed = await self._run_blocking(self._close)
        if is_removed and self._directory is not None:
            self._observer(ShardRemoved(shard=self._directory.name))

    def _open(self) -> tuple[Shard, Recovered]:
        try:
            if self._disk is None:
                self._disk = self._own_disk()
            self._disk.lock()
            shard = Shard(
                self._directory,
                self._disk,
                self._clock,
                self._connect,
                self._tag,
                self._ballast,
                lasts=self._lasts,
            )
            return shard, shard.open()
        except BaseException as error:
            self._unlock()
            if isinstance(error, OSError):
                raise SpoolUnavailable(f"{self._directory}: {error.strerror}") from error
            raise

    def _own_disk(self) -> Disk:
        return MemoryDisk() if self._directory is None else DirectoryDisk(self._directory)

    def _close(self) -> bool:
        """Close the shard and let others have it; if it is to go, remove it before that."""
        try:
            goes = self._spool.is_empty and not self._spool.is_kept
            self._shard.close()
            return goes and self._remove()
        finally:
            self._unlock()

    def _remove(self) -> bool:
        assert self._disk is not None, "it was open"  # noqa: S101  narrows the type
        try:
            return self._disk.remove()
        except OSError as error:
            what = f"shard {self._directory} is empty and cannot be removed"
            self._observer(Trouble(where="spool", what=what, detail=error.strerror or ""))
            return False

    def _unlock(self) -> None:
        if self._disk is not None:
            self._disk.unlock()


def open_memory_spool(
    *,
    clock: Clock,
    observer: Observer = lambda _: None,
    min_free_space: int = 0,
    memory_budget: int = MEMORY_BUDGET,
    disk: Disk | None = None,
    connect: Connect = connect,
) -> open_spool:
    """The same spool with everything in memory and nothing in a thread: for virtual time.

    No linger, so that a commit takes no virtual time.
    """
    return open_spool(
        None,
        run_blocking=inline,
        clock=clock,
        observer=observer,
        min_free_space=min_free_space,
        memory_budget=memory_budget,
        ballast=0,
        linger=Linger(0.0, 0.0),
        connect=connect,
        disk=disk,
        tag=1,
    )
