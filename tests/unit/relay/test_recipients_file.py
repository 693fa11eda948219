"""A recipients file says who exists; a broken one changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from edgerelay.mail.address import Mailbox
from edgerelay.observe.events import Event, Trouble
from edgerelay.relay.recipients_file import RecipientsFile, RecipientsFileError, parse, read
from edgerelay.runtime import inline

LIST = """\
ann@Example.com            # the boss
carl+work@example.com
!carl@example.com
@open.example
!left@open.example
!left+still@open.example
nina@müller.example
ñandú@example.com
"""


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("ann@example.com", True),
        ("ANN@EXAMPLE.COM", True),
        ('"ann"@example.com', True),
        (r'"a\nn"@example.com', True),
        ("ann+anything@example.com", True),
        ("ann+@example.com", True),
        ("+ann@example.com", False),
        ("anna@example.com", False),
        ("ann@sub.example.com", False),
        # The exact entry counts before the one without the tag.
        ("carl+work@example.com", True),
        ("carl+home@example.com", False),
        ("carl@example.com", False),
        ("anyone@open.example", True),
        ("left@open.example", False),
        ("left+tag@open.example", False),
        ("left+still@open.example", False),
        ("nina@xn--mller-kva.example", True),
        ("ÑANDÚ@example.com", True),
    ],
)
def test_who_is_known(address: str, known: bool) -> None:
    assert parse(LIST, "list").knows(Mailbox.from_text(address)) is known


def test_every_bad_line_is_named() -> None:
    with pytest.raises(RecipientsFileError) as caught:
        parse("ann@example.com\nann\nann@\n!@example.com\na b@example.com\na@b@c\n", "/etc/list")
    assert str(caught.value) == (
        "/etc/list: line 2: 'ann' is no user@domain or @domain; "
        "line 3: 'ann@' is no user@domain or @domain; "
        "line 4: '!@example.com' refuses a domain: leave it out; "
        "line 5: 'a b@example.com' is no user@domain or @domain; "
        "line 6: 'a@b@c' is no user@domain or @domain"
    )


def test_a_file_of_nonsense_is_complained_of_briefly() -> None:
    with pytest.raises(RecipientsFileError, match=r"line 10: .*; and 90 more$"):
        parse("nonsense\n" * 100, "list")


def test_a_file_must_be_there_and_be_text(tmp_path: Path) -> None:
    file = tmp_path / "list"
    with pytest.raises(RecipientsFileError, match=r"list: No such file"):
        read(file)
    file.write_bytes(b"ann\xff@example.com")
    with pytest.raises(RecipientsFileError, match=r"list: octet 3 is not UTF-8"):
        read(file)
    file.write_bytes(b"\xef\xbb\xbfann@example.com\r\n")
    assert read(file).knows(Mailbox("ann", "example.com"))


class Followed:
    """A file, who follows it, and what was complained of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[Event] = []
        self.file = RecipientsFile(path, inline, self.events.append)
        self.version = 1_000_000_000

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self.version += 1  # a filesystem's clock may be coarse
        os.utime(self.path, ns=(self.version, self.version))

    async def knows(self, local_part: str) -> bool | None:
        current = await self.file.current()
        return None if current is None else current.knows(Mailbox(local_part, "example.com"))

    @property
    def complaints(self) -> list[str]:
        return [event.detail for event in self.events if isinstance(event, Trouble)]


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path / "list")


async def test_a_change_is_seen_within_seconds(
    followed: Followed, autojump_clock: trio.testing.MockClock
) -> None:
    followed.write("ann@example.com\n")
    assert await followed.knows("ann") is True
    followed.write("bob@example.com\n")
    with trio.testing.assert_no_checkpoints():
        assert await followed.knows("ann") is True  # not looked at again yet
    await trio.sleep(1.5)
    await followed.knows("ann")
    await trio.sleep(1.5)
    assert await followed.knows("ann") is False
    assert await followed.knows("bob") is True


async def test_a_file_that_is_still_being_written_is_left_alone(
    followed: Followed, autojump_clock: trio.testing.MockClock
) -> None:
    followed.write("ann@example.com\n")
    assert await followed.knows("ann") is True
    for half in ("a", "an", "ann", ""):
        followed.write(half)
        await trio.sleep(1.1)
        assert await followed.knows("ann") is True
    followed.write("ann@example.com\nbob@example.com\n")
    for _ in range(2):
        await trio.sleep(1.1)
        await followed.knows("bob")
    assert await followed.knows("bob") is True
    assert followed.complaints == []


async def test_a_broken_or_missing_file_keeps_the_old_one(
    followed: Followed, autojump_clock: trio.testing.MockClock
) -> None:
    followed.write("ann@example.com\n")
    assert await followed.knows("ann") is True
    followed.write("nonsense\n")
    for _ in range(5):
        await trio.sleep(1.1)
        assert await followed.knows("ann") is True
    followed.path.unlink()
    for _ in range(5):
        await trio.sleep(1.1)
        assert await followed.knows("ann") is True
    # One complaint for each trouble, not one for each look.
    assert followed.complaints == [
        f"{followed.path}: line 1: 'nonsense' is no user@domain or @domain"
        "; the one before stays in use",
        f"{followed.path}: No such file or directory; the one before stays in use",
    ]
    followed.write("bob@example.com\n")
    for _ in range(2):
        await trio.sleep(1.1)
        await followed.knows("bob")
    assert await followed.knows("bob") is True


async def test_without_any_good_file_there_is_no_list(
    followed: Followed, autojump_clock: trio.testing.MockClock
) -> None:
    assert await followed.knows("ann") is None
    assert followed.complaints == [f"{followed.path}: No such file or directory"]
    followed.write("ann@example.com\n")
    await trio.sleep(1.1)
    assert await followed.knows("ann") is True
