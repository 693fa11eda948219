"""Shards are found by their database; a new one gets the smallest name that is free."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from edgerelay.spool.names import new_names, shard_names


def make(spool: Path, *names: str) -> None:
    for name in names:
        (spool / name).mkdir()
        (spool / name / "spool.db").touch()


def test_shards_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    make(tmp_path, "10", "2", "old", "1")
    (tmp_path / "3").mkdir()  # what is left of one that was removed
    (tmp_path / "notes").touch()
    assert shard_names(tmp_path) == ["1", "2", "10", "old"]
    assert shard_names(tmp_path / "nowhere") == []


def test_a_new_shard_gets_a_name_that_nobody_has_nor_will_have(tmp_path: Path) -> None:
    make(tmp_path, "0", "3")
    (tmp_path / "1").mkdir()  # what is left of one that was removed
    (tmp_path / "2").touch()  # no directory at all
    assert list(islice(new_names(tmp_path, {"4"}), 2)) == ["1", "5"]
