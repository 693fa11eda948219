"""The real servers of these tests work with one another, with no relay of ours between them."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.dovecot import Dovecot
from tests.e2e.support.haproxy import Haproxy
from tests.e2e.support.next_hop import Drop, NextHop
from tests.e2e.support.postfix import Postfix
from tests.e2e.support.tools import SmtpSink, smtp_source, swaks
from tests.e2e.support.waiting import wait_for


def test_swaks_reaches_dovecot_and_the_mail_is_fetched(workdir: Path) -> None:
    with Dovecot(workdir / "dovecot", ["bob@example.test"]) as dovecot:
        status, transcript = swaks(
            dovecot.lmtp_port,
            *("--protocol", "LMTP", "--to", "bob@example.test", "--from", "a@src.test"),
            *("--body", "hello there"),
        )
        assert status == 0, transcript
        dovecot.wait_count("bob@example.test", 1)
        [over_imap] = dovecot.fetch_imap("bob@example.test")
        [over_pop3] = dovecot.fetch_pop3("bob@example.test")
        assert b"hello there" in over_imap
        assert over_imap == over_pop3
        status, transcript = swaks(
            dovecot.lmtp_port, "--protocol", "LMTP", "--to", "nobody@example.test"
        )
        assert "550 5.1.1" in transcript


def test_postfix_hands_on_what_smtp_source_gives_it(workdir: Path) -> None:
    with (
        SmtpSink(workdir / "sink", dump=True) as sink,
        Postfix(workdir / "postfix", relay_to=sink.port) as postfix,
    ):
        smtp_source(postfix.port, messages=20, sessions=5)
        wait_for("20 messages", lambda: sink.count == 20)
        assert len(sink.messages()) == 20


def test_postfix_keeps_mailboxes(workdir: Path) -> None:
    boxes = ("bob@example.test",)
    with Postfix(workdir / "postfix", mailboxes=boxes) as postfix:
        with Client(postfix.port) as client:
            assert client.send("a@src.test", "bob@example.test", message()).code == 250
            refused = client.command("MAIL FROM:<a@src.test>")
            assert refused.code == 250
            assert client.command("RCPT TO:<who@example.test>").code == 550
        wait_for("the mailbox", lambda: postfix.mailbox("bob@example.test"))


@pytest.mark.parametrize("version", [1, 2])
def test_haproxy_says_who_the_client_is(workdir: Path, version: int) -> None:
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while b"hello" not in heard:
                heard.clear()
                connection, _ = listener.accept()
                # haproxy was asked whether it is there, and hung up: that may be a reset.
                with connection, contextlib.suppress(ConnectionResetError):
                    while octets := connection.recv(4096):
                        heard.extend(octets)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        with Haproxy(workdir / "haproxy", listener.getsockname()[1], version) as haproxy:
            with socket.create_connection(("127.0.0.1", haproxy.port)) as client:
                client.sendall(b"hello")
            thread.join(10)
    signature = {1: b"PROXY TCP4 127.0.0.1 127.0.0.1 ", 2: b"\r\n\r\n\0\r\nQUIT\n\x21\x11"}
    assert heard.startswith(signature[version])
    assert heard.endswith(b"hello")


def test_our_next_hop_follows_its_script_and_then_behaves() -> None:
    with NextHop(script={"DOT": [Drop(), b"451 4.3.0 not now\r\n"]}) as hop:
        for expected in (None, 451, 250):
            with Client(hop.port) as client:
                try:
                    code = client.send("a@src.test", "b@example.test", message()).code
                except Exception:
                    code = None
            assert code == expected
        hop.wait_taken(1)  # it notes what it took after it has answered
        assert [taken.confirmed for taken in hop.taken] == [False, False, True]
        assert hop.taken[2].content == message()
    with NextHop(lmtp=True) as hop, Client(hop.port, helo=None) as client:
        assert client.command("LHLO client.test").code == 250
        answer = client.send("a@src.test", ["b@example.test", "c@example.test"], message())
        assert (answer.code, client.read().code) == (250, 250)
