"""Mail goes through to a mailbox server and is there as it was sent, our trace field apart."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.dovecot import Dovecot
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.tools import smtp_source

BOB = "bob@example.test"

#: What a relay might be tempted to mend: each must come out as it went in.
CURIOUS = {
    "plain": message("plain"),
    "dots": message("dots", body=b".\r\n..\r\n.leading\r\n. alone\r\n\r\n.\r\n"),
    "eight bit": message("eight bit", body="grüße, 你好, ¼\r\n".encode()),
    "trailing space": message("trailing", body=b"a  \t \r\n \r\n\t\r\n\r\n\r\n"),
    "long line": message("long line", body=b"x" * 20_000 + b"\r\n"),
    "no header": b"just a line\r\n",
    "odd header": b"Subject: folded\r\n \tagain\r\nX:\r\nSubject: twice\r\n\r\nbody\r\n",
    "over the memory limit": message("large", size=3_000_000),
}


def without_trace(fetched: bytes, sent: bytes) -> bytes:
    """What stands before the message; fails unless the message ends it, octet for octet."""
    assert fetched.endswith(sent), "the content was changed"
    return fetched[: len(fetched) - len(sent)]


def ours(trace: bytes) -> int:
    return len(
        re.findall(rb"^Received: from [^\r\n]*(?:\r\n[ \t][^\r\n]*)*by relay\.test", trace, re.M)
    )


@pytest.mark.parametrize("form", ["unix", "tcp"])
def test_content_is_fetched_back_octet_for_octet(
    workdir: Path, relay: Callable[..., Edgerelay], form: str
) -> None:
    with Dovecot(workdir / "dovecot", [BOB]) as dovecot:
        hop = {
            "unix": f"lmtp+unix://{dovecot.lmtp_socket}",
            "tcp": f"lmtp://127.0.0.1:{dovecot.lmtp_port}",
        }[form]
        server = relay(hop)
        for number, content in enumerate(CURIOUS.values()):
            with Client(server.port) as client:
                answer = client.send("<a@src.test> BODY=8BITMIME", BOB, content)
                assert answer.code == 250, answer
            dovecot.wait_count(BOB, number + 1)
        for fetched in (dovecot.fetch_imap(BOB), dovecot.fetch_pop3(BOB)):
            assert len(fetched) == len(CURIOUS)
            for (name, sent), got in zip(CURIOUS.items(), fetched, strict=True):
                trace = without_trace(got, sent)
                assert ours(trace) == 1, (name, trace)
                assert trace.count(b"\nReceived: ") <= 2, (name, trace)  # ours and Dovecot's


def test_each_recipient_gets_a_copy_and_the_unknown_one_a_refusal(
    workdir: Path, relay: Callable[..., Edgerelay]
) -> None:
    users = [BOB, "eve@example.test"]
    with Dovecot(workdir / "dovecot", users) as dovecot:
        server = relay(f"lmtp://127.0.0.1:{dovecot.lmtp_port}", route={"recipients": "callout"})
        with Client(server.port) as client:
            client.command("MAIL FROM:<a@src.test>")
            assert client.command("RCPT TO:<bob@example.test>").code == 250
            assert client.command("RCPT TO:<eve@example.test>").code == 250
            unknown = client.command("RCPT TO:<nobody@example.test>")
            assert (unknown.code, unknown.text[:5]) == (550, "5.1.1")
            assert client.command("DATA").code == 354
            client.write(message("for two"))
            assert client.command(".").code == 250
        for user in users:
            dovecot.wait_count(user, 1)


def test_thousands_from_smtp_source(workdir: Path, relay: Callable[..., Edgerelay]) -> None:
    count = 5000 if os.environ.get("E2E_FULL") else 500
    with Dovecot(workdir / "dovecot", [BOB]) as dovecot:
        server = relay(f"lmtp+unix://{dovecot.lmtp_socket}", workers=2)
        smtp_source(server.port, messages=count, forward_path=BOB, timeout=300)
        dovecot.wait_count(BOB, count, timeout=300)
        fetched = dovecot.fetch_imap(BOB)
    assert len(fetched) == count
    bodies = {got.partition(b"\r\n\r\n")[2] for got in fetched}
    assert len(bodies) == 1, "smtp-source sends the same body each time"
    assert len(next(iter(bodies))) > 3500
    for got in fetched:
        assert ours(got.partition(b"\r\n\r\n")[0] + b"\r\n") == 1
