"""Room for new mail is the disk's and our own free pages, asked once a second."""

from __future__ import annotations

from trio.testing import MockClock

from edgerelay.spool.disk import MemoryDisk
from edgerelay.spool.space import Space
from edgerelay.testing.faulty_disk import FaultyDisk


async def test_the_disk_is_asked_at_most_once_a_second(mock_clock: MockClock) -> None:
    disk = MemoryDisk(room=100)
    space = Space(disk, 50)
    assert space.free == 100
    disk.room = 10
    assert space.free == 100, "still believed"
    mock_clock.jump(1)
    assert space.free == 10
    space.own(40)
    assert space.free == 50, "our free pages count"
    assert space.is_enough


async def test_after_a_failed_write_no_mail_for_a_second(mock_clock: MockClock) -> None:
    space = Space(MemoryDisk(room=100), 50)
    space.failed()
    assert [space.is_full, space.is_enough] == [True, False]
    mock_clock.jump(1)
    assert [space.is_full, space.is_enough] == [False, True]


async def test_a_disk_that_does_not_answer_has_no_room(mock_clock: MockClock) -> None:
    disk = FaultyDisk(MemoryDisk())
    disk.failing.add("free")
    space = Space(disk, 1)
    assert (space.free, space.is_enough) == (0, False)
    disk.failing.clear()
    space.ask_again()
    assert space.free > 0
