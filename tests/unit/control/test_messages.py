"""Every message has a tag of its own, and unknown ones are refused."""

from __future__ import annotations

from typing import get_args

from edgerelay.control.messages import Message, Request, Response


def test_tags_are_unique() -> None:
    kinds = get_args(Message)
    assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds)


def test_questions_and_answers_are_messages_too() -> None:
    assert {*get_args(Request), *get_args(Response)} <= set(get_args(Message))
