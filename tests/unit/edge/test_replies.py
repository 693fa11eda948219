"""Replies carry the codes that RFC 3463 and RFC 5321 give them."""

from __future__ import annotations

import pytest

from edgerelay.edge import replies
from edgerelay.mail.reply import Reply
from edgerelay.smtp.events import DataProblem


def test_every_problem_of_content_is_permanent() -> None:
    assert set(replies.PROBLEMS) == set(DataProblem)
    assert all(reply.is_permanent for reply in replies.PROBLEMS.values())


@pytest.mark.parametrize("why", replies._LAST_WORDS)
def test_last_words_name_the_host(why: str) -> None:
    reply = replies.last_words("mx.example.org", why)
    assert reply.code == 421
    assert reply.text.startswith("mx.example.org ")


def test_a_token_ends_the_last_line() -> None:
    assert replies.signed(Reply(550, "5.1.1", "No"), "AB").lines == ("No (s=AB)",)
    assert replies.signed(Reply(550, "5.1.1", "No", ("a", "b")), "AB").lines == (
        "No",
        "a",
        "b (s=AB)",
    )


def test_a_policys_words_are_ascii_and_fit_a_line() -> None:
    short = Reply(550, "5.7.1", "no")
    assert replies.of_a_policy(short) is short
    said = replies.of_a_policy(Reply(550, "5.7.1", "n\u00e9in " * 200, ("x" * 2000, "y")))
    assert said.octets.isascii()
    assert all(len(line) <= 500 for line in said.octets.split(b"\r\n"))
    assert said.text.startswith("n\\xe9in ")
    assert said.more[1] == "y"
