"""A whole Postfix hands its mail to us, as an outbound relay or a primary MX would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.postfix import Postfix
from tests.e2e.support.tools import SmtpSink, smtp_source
from tests.e2e.support.waiting import wait_for


def test_postfix_is_rid_of_all_it_had(workdir: Path, relay: Callable[..., Edgerelay]) -> None:
    with SmtpSink(workdir / "sink") as sink:
        server = relay(f"smtp://127.0.0.1:{sink.port}")
        with Postfix(workdir / "postfix", relay_to=server.port) as postfix:
            smtp_source(postfix.port, messages=200)
            wait_for("200 messages", lambda: sink.count >= 200, 60)
            wait_for("Postfix's empty queue", lambda: postfix.queued() == 0)
        assert sink.count == 200


def test_parameters_pass_from_postfix_through_us(
    workdir: Path, relay: Callable[..., Edgerelay]
) -> None:
    """RFC 3461 section 5.2: a relay that knows DSN hands on what it was given."""
    content = message("grüße", body="grüße\r\n".encode())
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}")
        with (
            Postfix(workdir / "postfix", relay_to=server.port) as postfix,
            Client(postfix.port) as client,
        ):
            answer = client.send(
                "<jürgen@src.test> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=abc+2Bdef",
                "<bob@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+40example.test",
                content,
            )
            assert answer.code == 250, answer
            [taken] = hop.wait_taken(1)
    mail = taken.mail.split()
    assert mail[1] == "FROM:<jürgen@src.test>"
    assert {"BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=abc+2Bdef"} <= set(mail[2:])
    rcpt = taken.rcpts[0].split()
    assert rcpt[1] == "TO:<bob@example.test>"
    assert "NOTIFY=SUCCESS,FAILURE" in rcpt
    assert any(p.lower().startswith("orcpt=rfc822;bob") for p in rcpt)
    assert taken.content.endswith(content)


def test_a_refusal_of_ours_becomes_postfix_bounce(
    workdir: Path, relay: Callable[..., Edgerelay]
) -> None:
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}")
        with (
            Postfix(workdir / "postfix", relay_to=server.port) as postfix,
            Client(postfix.port) as client,
        ):
            assert client.send("a@src.test", "b@elsewhere.test", message()).code == 250
            log = wait_for(
                "Postfix's verdict",
                lambda: postfix.maillog if "status=bounced" in postfix.maillog else "",
            )
    assert "550 5.7.1" in log
    assert not hop.taken
