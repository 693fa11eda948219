"""Queue ids are unique, sort by age, and lead back to their row."""

from __future__ import annotations

import pytest

from edgerelay.spool.queue_ids import QueueIds, first_key, number_of_key


def ids(now: float = 1.7e9, tag: int = 0xABCDE, last: int = 0) -> QueueIds:
    return QueueIds(lambda: now, tag, last)


def test_an_id_is_fourteen_letters_and_digits() -> None:
    queue_id = ids().allocate()
    assert len(queue_id) == 14
    assert queue_id.isalnum()
    assert queue_id.isascii()


def test_ids_of_one_moment_differ_and_sort_by_age() -> None:
    giver = ids()
    given = [giver.allocate() for _ in range(5000)]
    assert len(set(given)) == 5000
    assert sorted(given) == given


def test_a_clock_that_runs_backwards_repeats_nothing() -> None:
    times = iter([1.7e9, 1.6e9, 1.6e9, 1.7e9 + 1])
    giver = QueueIds(lambda: next(times), 1, 0)
    given = [giver.allocate() for _ in range(4)]
    assert sorted(set(given)) == given


@pytest.mark.parametrize("now", [-5.0, 0.0, 1e12])
def test_a_clock_that_is_wrong_by_ages_still_counts(now: float) -> None:
    giver = ids(now=now, last=77)
    assert giver.number(giver.allocate()) == 78


def test_the_number_leads_back() -> None:
    giver = ids()
    queue_id = giver.allocate()
    number = giver.number(queue_id)
    assert number is not None
    assert giver.text(number) == queue_id
    assert number_of_key(first_key(number) + 5) == number
    assert first_key(number) < 1 << 63


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text + "0",
        lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),  # another shard's
        lambda text: "U" + text[1:],  # no digit of ours
        lambda text: text[:9].lower() + "_" + text[10:],
        lambda text: "+" + text[1:],
        lambda text: " " + text[1:],
        lambda text: "٣" + text[1:],  # a digit to Python
        lambda text: "0" * 10 + text[10:],
        lambda text: "Z" * 10 + text[10:],
    ],
)
def test_what_this_shard_cannot_have_given_has_no_number(change) -> None:  # type: ignore[no-untyped-def]  # a lambda
    giver = ids()
    assert giver.number(change(giver.allocate())) is None
