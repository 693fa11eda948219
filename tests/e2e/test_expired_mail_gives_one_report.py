"""Mail that cannot be delivered in time is reported to its sender, once (RFC 3464)."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from email.message import EmailMessage

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import pause, wait_for

QUEUE = {"retry": ["500ms"], "expire": "3s", "warn_after": "1h"}


def parsed(content: bytes) -> list[EmailMessage]:
    report = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(report, EmailMessage)
    parts = [part for part in report.walk() if isinstance(part, EmailMessage)]
    assert not any(part.defects for part in parts), [part.defects for part in parts]
    return parts


def test_one_report_a_message_with_its_original_header(
    relay: Callable[..., Edgerelay],
) -> None:
    away = NextHop()
    with NextHop() as senders:
        server = relay(
            f"smtp://127.0.0.1:{away.port}", also={"src.test": senders.port}, queue=QUEUE
        )
        with Client(server.port) as client:
            for name in ("one", "two"):
                content = message(name, identifier=name)
                assert client.send("a@src.test", "b@example.test", content).code == 250
        reports = senders.wait_taken(2)
        pause(2)
        assert len(senders.taken) == 2
        assert len(server.find("report", kind="failed")) == 2
    about = set()
    for report in reports:
        assert report.mail.startswith("MAIL FROM:<>")
        assert [rcpt.split()[1] for rcpt in report.rcpts] == ["TO:<a@src.test>"]
        whole, text, *rest = parsed(report.content)
        assert whole.get_content_type() == "multipart/report"
        assert whole.get_param("report-type") == "delivery-status"
        assert "b@example.test" in text.get_content()
        kinds = [part.get_content_type() for part in rest]
        assert "message/delivery-status" in kinds
        fields = report.content.decode()
        assert "Action: failed" in fields
        assert "Final-Recipient: rfc822;" in fields.replace("rfc822; ", "rfc822;")
        original = rest[-1].get_content() if rest[-1].get_content_type() != "message" else ""
        about.add("one" if "<one@src.test>" in str(original) else "two")
    assert about == {"one", "two"}


def test_a_report_that_fails_is_held_and_makes_no_other(
    relay: Callable[..., Edgerelay],
) -> None:
    away, senders = NextHop(), NextHop()
    server = relay(f"smtp://127.0.0.1:{away.port}", also={"src.test": senders.port}, queue=QUEUE)
    with Client(server.port) as client:
        assert client.send("a@src.test", "b@example.test", message()).code == 250
    wait_for("the held report", lambda: server.json("queue", "list", "--status", "held"), 30)
    assert len(server.find("report")) == 1


def test_a_delay_is_told_once(relay: Callable[..., Edgerelay]) -> None:
    away = NextHop()
    with NextHop() as senders:
        server = relay(
            f"smtp://127.0.0.1:{away.port}",
            also={"src.test": senders.port},
            queue={"retry": ["500ms"], "expire": "1h", "warn_after": "1s"},
        )
        with Client(server.port) as client:
            assert client.send("a@src.test", "b@example.test", message()).code == 250
        [report] = senders.wait_taken(1)
        pause(2)
        assert len(senders.taken) == 1
    assert "Action: delayed" in report.content.decode()
