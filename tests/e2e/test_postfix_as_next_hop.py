"""A whole Postfix takes what we relay: mailboxes, refusals, and every parameter it offers."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.postfix import Postfix
from tests.e2e.support.tools import smtp_source
from tests.e2e.support.waiting import wait_for

BOB = "bob@example.test"


def test_mail_lies_in_postfix_mailbox_as_it_was_sent(
    workdir: Path, relay: Callable[..., Edgerelay]
) -> None:
    content = message("grüße", body="..\r\n.grüße\r\n".encode(), size=400_000)
    with Postfix(workdir / "postfix", mailboxes=(BOB,)) as postfix:
        server = relay(f"smtp://127.0.0.1:{postfix.port}")
        with Client(server.port) as client:
            answer = client.send("<jürgen@src.test> BODY=8BITMIME SMTPUTF8", BOB, content)
            assert answer.code == 250, answer
        [stored] = wait_for("the mailbox", lambda: postfix.mailbox(BOB))
    assert stored.endswith(content.replace(b"\r\n", b"\n"))
    assert stored.count(b"by relay.test") == 1


def test_one_connection_carries_many_messages(
    workdir: Path, relay: Callable[..., Edgerelay]
) -> None:
    with Postfix(workdir / "postfix", mailboxes=(BOB,)) as postfix:
        server = relay(f"smtp://127.0.0.1:{postfix.port}")
        smtp_source(server.port, messages=200, forward_path=BOB)
        wait_for("200 messages", lambda: len(postfix.mailbox(BOB)) == 200, 60)
        connections = postfix.maillog.count(": connect from ")
    assert connections <= 40, "connections are reused"


def test_an_unknown_recipient_is_refused_at_once_by_callout(
    workdir: Path, relay: Callable[..., Edgerelay]
) -> None:
    with Postfix(workdir / "postfix", mailboxes=(BOB,)) as postfix:
        server = relay(f"smtp://127.0.0.1:{postfix.port}", route={"recipients": "callout"})
        with Client(server.port) as client:
            client.command("MAIL FROM:<a@src.test>")
            refused = client.command("RCPT TO:<nobody@example.test>")
            assert (refused.code, refused.text[:5]) == (550, "5.1.1")
            assert client.command(f"RCPT TO:<{BOB}>").code == 250
        asked = postfix.maillog.count("NOQUEUE: reject")
        with Client(server.port) as client:
            client.command("MAIL FROM:<a@src.test>")
            assert client.command("RCPT TO:<nobody@example.test>").code == 550
        assert postfix.maillog.count("NOQUEUE: reject") == asked, "the answer is remembered"


@pytest.mark.parametrize("notify", ["", " NOTIFY=FAILURE", " NOTIFY=NEVER"])
def test_a_late_refusal_is_reported_unless_the_sender_wants_none(
    workdir: Path, relay: Callable[..., Edgerelay], notify: str
) -> None:
    with (
        Postfix(workdir / "postfix", mailboxes=(BOB,)) as postfix,
        NextHop() as senders,
    ):
        server = relay(f"smtp://127.0.0.1:{postfix.port}", also={"src.test": senders.port})
        with Client(server.port) as client:
            content = message("to nobody", identifier="lost")
            rcpt = f"<nobody@example.test>{notify}"
            assert client.send("<a@src.test> ENVID=e1", rcpt, content).code == 250
        if "NEVER" in notify:
            server.wait_event("delivery", outcome="failed")
            wait_for("an empty queue", lambda: not server.json("queue", "list"))
            assert not senders.taken
            return
        [report] = senders.wait_taken(1)
    assert report.mail.startswith("MAIL FROM:<>")
    parsed = email.message_from_bytes(report.content, policy=email.policy.default)
    assert parsed.get_content_type() == "multipart/report"
    assert "nobody@example.test" in report.content.decode()
    assert "550 5.1.1" in report.content.decode()
