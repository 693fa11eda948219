"""An attempt has one reply a recipient; our own words are known as ours."""

from __future__ import annotations

import pytest

from edgerelay.mail.reply import Reply
from edgerelay.relay.attempt import (
    NO_CONNECTION,
    OWN_WORDS,
    REFUSED,
    TOO_BIG,
    Attempt,
    refused_by_policy,
    same_for_all,
)

TAKEN = Reply(250, "2.0.0", "taken")
LATER = Reply(450, "4.2.1", "later")
NEVER = Reply(550, "5.1.1", "nobody")


@pytest.mark.parametrize(
    ("replies", "word"),
    [
        ((TAKEN, TAKEN), "delivered"),
        ((LATER,), "deferred"),
        ((NEVER, NEVER), "failed"),
        ((TAKEN, NEVER), "mixed"),
    ],
)
def test_an_attempt_has_one_word(replies: tuple[Reply, ...], word: str) -> None:
    assert Attempt(replies).outcome == word


def test_the_same_for_all() -> None:
    assert same_for_all(3, LATER).replies == (LATER, LATER, LATER)


def test_our_own_words_are_known() -> None:
    assert str(NO_CONNECTION) in OWN_WORDS
    assert str(TOO_BIG) in OWN_WORDS
    assert str(TAKEN) not in OWN_WORDS


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("550 5.7.1 Not you", Reply(550, "5.7.1", "Not you")),
        ("451 4.7.1 Later", REFUSED),
        ("", REFUSED),
        ("held by hand", REFUSED),
    ],
)
def test_what_a_policy_said_is_said_again(text: str, reply: Reply) -> None:
    assert refused_by_policy(2, text).replies == (reply, reply)
