"""The next hop says what no SMTP server says: the mail waits for a better day."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import Answer, Drop, NextHop

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


@pytest.mark.parametrize("moment", ["GREETING", "EHLO", "RCPT", "DOT"])
@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_defers_and_nothing_is_lost(
    relay: Callable[..., Edgerelay], moment: str, nonsense: bytes
) -> None:
    answers: list[Answer] = [Drop(nonsense)]
    with NextHop(script={moment: answers}) as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", queue={"retry": ["300ms"]})
        with Client(server.port) as client:
            assert client.send("a@src.test", "b@example.test", message()).code == 250
        taken = hop.wait_taken(1)
        assert taken[0].content.endswith(message())
        assert not server.find("report"), "nonsense is no permanent failure"
