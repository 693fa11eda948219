"""Events of a session carry its token, and nothing unescaped from outside."""

from __future__ import annotations

from trio.testing import MockClock

from edgerelay.edge.client import Client
from edgerelay.edge.record import Record
from edgerelay.mail.reply import Reply
from edgerelay.observe.events import Event, RecipientRefused, SessionEnded, Trouble


async def test_one_story_has_one_token(autojump_clock: MockClock) -> None:
    events: list[Event] = []
    record = Record(events.append, "TOKEN", "0.0.0.0:25", Client.from_peer("192.0.2.1:4711"))
    record.refuse("rcpt", Reply(550, "5.1.1", "No"), "<a\n@b>", "<c\u202e@d>")
    record.fail(ValueError("line\nbreak"))
    record.end("quit", None)
    refused, trouble, ended = events
    assert isinstance(refused, RecipientRefused)
    assert (refused.session, refused.reverse_path, refused.forward_path) == (
        "TOKEN",
        "<a\\n@b>",
        "<c\\u202e@d>",
    )
    assert isinstance(trouble, Trouble)
    assert trouble.detail == "session TOKEN: ValueError: line\\nbreak"
    assert isinstance(ended, SessionEnded)
    assert (ended.session, ended.refused, ended.listener) == ("TOKEN", 1, "0.0.0.0:25")
