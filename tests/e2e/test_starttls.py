"""STARTTLS in both directions, with swaks and Postfix at the other end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.postfix import Postfix
from tests.e2e.support.tls import issue, untrusting
from tests.e2e.support.tools import swaks
from tests.e2e.support.waiting import wait_for

BOB = "bob@example.test"


@pytest.fixture
def certificate(workdir: Path) -> Path:
    """A folder with cert.pem, key.pem and ca.pem for localhost and 127.0.0.1."""
    folder = workdir / "tls"
    folder.mkdir()
    authority = trustme.CA()
    issue(folder, "localhost", "127.0.0.1", "postfix.test", authority=authority)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return folder


@pytest.fixture
def tls(certificate: Path) -> dict[str, str]:
    return {
        "certificate": str(certificate / "cert.pem"),
        "private_key": str(certificate / "key.pem"),
    }


def test_swaks_sends_encrypted(
    workdir: Path, relay: Callable[..., Edgerelay], tls: dict[str, str]
) -> None:
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", listener={"tls": "starttls"}, tls=tls)
        status, transcript = swaks(
            server.port, "--tls", "--from", "a@src.test", "--to", BOB, "--body", "secret"
        )
        assert status == 0, transcript
        [taken] = hop.wait_taken(1)
    assert b"with ESMTPS" in taken.content
    assert server.wait_event("session")[-1]["tls"].startswith("TLSv1")


def test_a_listener_that_requires_tls_takes_no_mail_without(
    relay: Callable[..., Edgerelay], tls: dict[str, str]
) -> None:
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", listener={"tls": "required"}, tls=tls)
        status, transcript = swaks(server.port, "--from", "a@src.test", "--to", BOB)
        assert status != 0
        assert "530 5.7.0" in transcript
        assert swaks(server.port, "--tls", "--from", "a@src.test", "--to", BOB)[0] == 0


def test_implicit_tls(relay: Callable[..., Edgerelay], tls: dict[str, str]) -> None:
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", listener={"tls": "implicit"}, tls=tls)
        status, transcript = swaks(
            server.port, "--tls-on-connect", "--from", "a@src.test", "--to", BOB
        )
        assert status == 0, transcript
        hop.wait_taken(1)


def test_a_command_slipped_in_behind_starttls_is_never_obeyed(
    relay: Callable[..., Edgerelay], tls: dict[str, str]
) -> None:
    """RFC 3207 section 5; the attack of 2011."""
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", listener={"tls": "starttls"}, tls=tls)
        with Client(server.port) as client:
            client.write(b"STARTTLS\r\nMAIL FROM:<attacker@src.test>\r\n")
            answer = client.read()
            assert answer.code >= 500
        with Client(server.port) as client:
            assert client.command("STARTTLS").code == 220
            client.start_tls(untrusting())
            assert client.command("MAIL FROM:<a@src.test>").code == 503, "EHLO is forgotten"
            assert client.command("EHLO again.test").code == 250
            assert client.send("a@src.test", BOB, message()).code == 250


def test_postfix_is_spoken_to_encrypted_when_it_offers(
    workdir: Path, relay: Callable[..., Edgerelay], certificate: Path
) -> None:
    offers = {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_cert_file": str(certificate / "cert.pem"),
        "smtpd_tls_key_file": str(certificate / "key.pem"),
        "smtpd_tls_loglevel": "1",
    }
    with Postfix(workdir / "postfix", mailboxes=(BOB,), extra=offers) as postfix:
        server = relay(f"smtp://127.0.0.1:{postfix.port}", route={"tls": "opportunistic"})
        with Client(server.port) as client:
            assert client.send("a@src.test", BOB, message()).code == 250
        wait_for("the mailbox", lambda: postfix.mailbox(BOB))
        assert "TLS connection established from" in postfix.maillog
    assert server.wait_event("delivery", outcome="delivered")[-1]["tls"].startswith("TLSv1")


def test_where_tls_is_required_and_not_offered_the_mail_waits(
    relay: Callable[..., Edgerelay],
) -> None:
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", route={"tls": "required"})
        with Client(server.port) as client:
            assert client.send("a@src.test", BOB, message()).code == 250
        server.wait_event("lane_down")
        assert not hop.taken
        assert not any(line.startswith("MAIL") for line in hop.commands)


def test_an_opportunistic_handshake_that_fails_does_not_stop_the_mail(
    relay: Callable[..., Edgerelay],
) -> None:
    extensions = (b"PIPELINING", b"STARTTLS")
    refuses = {"STARTTLS": [b"454 4.7.0 not today\r\n"]}
    with NextHop(extensions=extensions, script=refuses) as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", route={"tls": "opportunistic"})
        with Client(server.port) as client:
            assert client.send("a@src.test", BOB, message()).code == 250
        hop.wait_taken(1, 40)
