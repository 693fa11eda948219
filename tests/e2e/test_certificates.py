"""Which certificate a client is shown, with openssl at the other end, and whose it shows."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.support.client import Client
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.tls import issue
from tests.e2e.support.waiting import wait_for

ECDSA, RSA = trustme.KeyType.ECDSA, trustme.KeyType.RSA


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def folder(workdir: Path, name: str) -> Path:
    path = workdir / name
    path.mkdir()
    return path


@pytest.fixture
def tls(workdir: Path, authority: trustme.CA) -> dict[str, Any]:
    """mx.example.com with RSA and with ECDSA, and *.example.org."""
    table: dict[str, Any] = issue(
        folder(workdir, "rsa"), "mx.example.com", authority=authority, key_type=RSA
    )
    table["more"] = [
        issue(folder(workdir, "ec"), "mx.example.com", authority=authority, key_type=ECDSA),
        issue(folder(workdir, "org"), "*.example.org", authority=authority, key_type=ECDSA),
    ]
    return table


def shown(port: int, *options: str) -> str:
    """What openssl says of the certificate that it was shown."""
    client = ["openssl", "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{port}"]
    done = subprocess.run(
        [*client, *options], input=b"QUIT\r\n", capture_output=True, timeout=30, check=False
    )
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-text"],
        input=done.stdout,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return text.stdout.decode()


def test_the_name_and_the_algorithms_of_a_client_choose(
    relay: Callable[..., Edgerelay], tls: dict[str, Any]
) -> None:
    port = relay("smtp://127.0.0.1:1", listener={"tls": "starttls"}, tls=tls).port
    assert "DNS:*.example.org" in shown(port, "-servername", "mail.example.org")
    for name in ("mx.example.com", "MX.Example.COM", "unknown.example.net"):
        modern = shown(port, "-servername", name)
        assert "DNS:mx.example.com" in modern
        assert "id-ecPublicKey" in modern
        old = shown(port, "-servername", name, "-tls1_2", "-cipher", "aRSA")
        assert "DNS:mx.example.com" in old
        assert "rsaEncryption" in old
    assert "DNS:mx.example.com" in shown(port, "-noservername")


def test_other_files_are_taken_up_without_a_reload_and_broken_ones_are_not(
    relay: Callable[..., Edgerelay], workdir: Path, authority: trustme.CA
) -> None:
    tls = issue(workdir, "localhost", authority=authority)
    server = relay("smtp://127.0.0.1:1", listener={"tls": "starttls"}, tls=tls)
    first = shown(server.port)
    issue(workdir, "localhost", authority=authority)
    server.wait_event("reloaded", timeout=30)
    second = shown(server.port)
    assert second != first
    (workdir / "cert.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nno\n")
    server.wait_event("trouble", timeout=30, what="the certificates in use stay")
    assert shown(server.port) == second


def test_a_pair_for_one_name_is_taken_up_beside_the_others(
    relay: Callable[..., Edgerelay], workdir: Path, authority: trustme.CA, tls: dict[str, Any]
) -> None:
    server = relay("smtp://127.0.0.1:1", listener={"tls": "starttls"}, tls=tls)
    names = ("mail.example.org", "mx.example.com")
    org, com = [shown(server.port, "-servername", name) for name in names]
    issue(workdir / "org", "*.example.org", authority=authority, key_type=ECDSA)
    server.wait_event("reloaded", timeout=30)
    other_org, same_com = [shown(server.port, "-servername", name) for name in names]
    assert "DNS:*.example.org" in other_org
    assert other_org != org
    assert same_com == com


def test_a_server_name_that_is_no_ascii_ends_the_handshake_and_nothing_else(
    relay: Callable[..., Edgerelay], tls: dict[str, Any]
) -> None:
    server = relay("smtp://127.0.0.1:1", listener={"tls": "starttls"}, tls=tls)
    answers, questions = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(answers, questions, server_hostname="aa.example.org").do_handshake()
    with Client(server.port) as client:
        assert client.command("STARTTLS").code == 220
        client.write(questions.read().replace(b"aa.example.org", b"\xff\xfe.example.org"))
        [session] = server.wait_event("session", end="tls")
    assert "CALLBACK_FAILED" in session["tls_failure"]
    assert "DNS:*.example.org" in shown(server.port, "-servername", "mail.example.org")
    assert all(line.startswith("{") for line in server.log.read_text().splitlines())


def test_a_verified_client_has_its_name_in_the_log(
    relay: Callable[..., Edgerelay], workdir: Path, authority: trustme.CA
) -> None:
    partners = trustme.CA()
    partners.cert_pem.write_to_path(workdir / "partners.pem")
    tls = issue(workdir, "localhost", authority=authority)
    server = relay(
        "smtp://127.0.0.1:1",
        listener={"tls": "starttls", "client_certificate": "request"},
        tls=tls | {"client_ca": str(workdir / "partners.pem")},
    )

    def visit(signed_by: trustme.CA | None) -> dict[str, Any]:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if signed_by is not None:
            signed_by.issue_cert("partner.example").configure_cert(context)
        before = len(server.find("session"))
        with Client(server.port) as client:
            assert client.command("STARTTLS").code == 220
            try:
                client.start_tls(context, "localhost")
                client.command("EHLO x.test")
                client.command("QUIT")
            except (OSError, AssertionError):
                assert signed_by not in (None, partners)
        sessions = wait_for("its line", lambda: server.find("session")[before:])
        return sessions[-1]

    assert visit(None)["tls_client"] == ""
    assert visit(partners)["tls_client"] == "partner.example"
    stranger = visit(trustme.CA())
    assert (stranger["tls_client"], stranger["end"]) == ("", "tls")
    assert "VERIFY" in stranger["tls_failure"].upper()
