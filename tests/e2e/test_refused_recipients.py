"""Nobody relays who may not, and no message is taken for somebody who is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.tools import swaks


def rcpt(port: int, mailbox: str) -> tuple[int, str]:
    with Client(port) as client:
        client.command("MAIL FROM:<a@src.test>")
        answer = client.command(f"RCPT TO:<{mailbox}>")
        return answer.code, answer.text[:5]


def test_an_unlisted_domain_even_from_loopback(relay: Callable[..., Edgerelay]) -> None:
    server = relay("smtp://127.0.0.1:1")
    assert rcpt(server.port, "b@elsewhere.test") == (550, "5.7.1")
    assert rcpt(server.port, "b@sub.example.test") == (550, "5.7.1")
    status, transcript = swaks(server.port, "--from", "a@src.test", "--to", "b@elsewhere.test")
    assert status != 0
    assert "550 5.7.1" in transcript


@pytest.mark.parametrize(
    "mailbox",
    ["a%elsewhere.test@example.test", '"a@elsewhere.test"@example.test', "a!b@example.test"],
)
def test_a_local_part_is_never_a_route(relay: Callable[..., Edgerelay], mailbox: str) -> None:
    """RFC 5321 section 2.3.11: only the host of the domain may read a meaning into it."""
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}")
        with Client(server.port) as client:
            assert client.send("a@src.test", f"<{mailbox}>", message()).code == 250
        [taken] = hop.wait_taken(1)
        assert taken.rcpts[0].split(":", 1)[1].split()[0] == f"<{mailbox}>"


def test_a_recipients_file_is_the_list(workdir: Path, relay: Callable[..., Edgerelay]) -> None:
    listing = workdir / "recipients"
    listing.write_text("# ours\nBob@example.test\n@open.example.test\n!eve@open.example.test\n")
    with NextHop() as hop:
        server = relay(
            f"smtp://127.0.0.1:{hop.port}",
            route={
                "domains": ["example.test", ".example.test"],
                "recipients": f"file:{listing}",
            },
        )
        assert rcpt(server.port, "bob@example.test")[0] == 250
        assert rcpt(server.port, "bob+lists@example.test")[0] == 250
        assert rcpt(server.port, "nobody@example.test") == (550, "5.1.1")
        assert rcpt(server.port, "anyone@open.example.test")[0] == 250
        assert rcpt(server.port, "eve@open.example.test") == (550, "5.1.1")
        assert rcpt(server.port, "postmaster@example.test")[0] == 250
        assert rcpt(server.port, "abuse@example.test")[0] == 250


def test_an_oversized_message(relay: Callable[..., Edgerelay]) -> None:
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", limits={"message_size": "100KiB"})
        with Client(server.port) as client:
            declared = client.command("MAIL FROM:<a@src.test> SIZE=200000")
            assert (declared.code, declared.text[:5]) == (552, "5.3.4")
            answer = client.send("a@src.test", "b@example.test", message(size=200_000))
            assert (answer.code, answer.text[:5]) == (552, "5.3.4")
            assert client.send("a@src.test", "b@example.test", message()).code == 250
        hop.wait_taken(1)


def test_smuggling_is_refused(relay: Callable[..., Edgerelay]) -> None:
    """A bare line feed around a dot ends nothing, and the message is refused."""
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}")
        inner = "MAIL FROM:<evil@src.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nsmuggled"
        for end in ("\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r"):
            with Client(server.port) as client:
                client.command("MAIL FROM:<a@src.test>")
                client.command("RCPT TO:<b@example.test>")
                client.command("DATA")
                client.write(f"Subject: x\r\n\r\nouter{end}{inner}\r\n.\r\n".encode())
                answer = client.read()
                assert (answer.code, answer.text[:6]) == (550, "5.6.11"), (end, answer)
                assert client.command("NOOP").code == 250, "one reply, no second transaction"
        assert not hop.taken
