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


async def test_without_ballast_no_mail(mock_clock: MockClock) -> None:
    disk = MemoryDisk(room=100 << 20)
    space = Space(disk, 1 << 20, ballast=8 << 20)
    assert (space.is_enough, space.ballast_to_take) == (False, 8 << 20)
    disk.take_ballast(8 << 20)
    assert (space.is_enough, space.ballast_to_take) == (True, 0)
    disk.give_ballast()
    disk.take_ballast(4096)
    assert not space.is_enough, "too little to be of use"
    space.failed()
    assert space.ballast_to_take == 0, "let the disk come to rest"


async def test_of_little_room_little_is_reserved_and_of_too_little_none(
    mock_clock: MockClock,
) -> None:
    disk = MemoryDisk(room=32 << 20)
    space = Space(disk, 8 << 20, ballast=64 << 20)
    assert space.ballast_to_take == 6 << 20
    disk.room = 11 << 20
    space.ask_again()
    assert space.ballast_to_take == 0
    space.own(1 << 30)  # pages of our own are no room for a file
    assert space.ballast_to_take == (11 << 20) // 4


async def test_what_came_since_the_disk_was_asked_counts_twice(mock_clock: MockClock) -> None:
    space = Space(MemoryDisk(room=100), 50)
    assert space.free == 100
    space.spent(30)
    assert (space.free, space.is_enough) == (40, False)
    mock_clock.jump(1)
    assert space.is_enough
