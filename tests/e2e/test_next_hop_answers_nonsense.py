"""The next hop says what no SMTP server says: the mail waits for a better day."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import Drop, NextHop
from tests.e2e.support.waiting import wait_for

NONSENSE = {
    "no digits": b"hello, I am a web server\r\n",
    "a code out of range": b"999 what\r\n",
    "two digits": b"25 ok\r\n",
    "binary": bytes(range(256)) + b"\r\n",
    "a line without end": b"2" * 200_000,
    "lines without end": b"250-x\r\n" * 20_000,
    "codes that differ": b"250-a\r\n350 b\r\n",
    "more replies than commands": b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n250 e\r\n",
    "nothing at all": b"",
}


def has_come(hop: NextHop, content: bytes) -> bool:
    return any(taken.content.endswith(content) for taken in hop.taken)


@pytest.mark.parametrize("moment", ["GREETING", "EHLO", "RCPT", "DOT"])
def test_nonsense_defers_and_nothing_is_lost(relay: Callable[..., Edgerelay], moment: str) -> None:
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", queue={"retry": ["100ms"]})
        expected = 1
        for number, (name, nonsense) in enumerate(NONSENSE.items()):
            hop.say(moment, Drop(nonsense))
            hop.hang_up()  # so that the greeting is said again
            with Client(server.port) as client:
                content = message(identifier=f"n{number}")
                assert client.send("a@src.test", "b@example.test", content).code == 250
            if (moment, name) == ("DOT", "more replies than commands"):
                # the first of them is the answer, and it says that the message was taken
                wait_for("its dot", partial(has_come, hop, content))
                expected -= 1
                continue
            assert hop.wait_taken(number + expected)[-1].content.endswith(content), name
        assert not server.find("report"), "nonsense is no permanent failure"
