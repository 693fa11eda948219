"""Contexts are made from octets: which certificate is shown, to whom, and which never is."""

from __future__ import annotations

import ssl
from itertools import product

import pytest
import trustme

from edgerelay.net.key_pairs import KeyPair, TlsFiles
from edgerelay.net.tls import server_context
from edgerelay.net.x509 import leaf_facts
from tests.unit.net.pairs import ECDSA, RSA, pair


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None
) -> ssl.SSLObject:
    """Shake hands in memory, and return the client's end."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up, server_hostname=name)
    done = set[ssl.SSLObject]()
    for _, end in product(range(5), (theirs, ours)):
        try:
            end.do_handshake()
            done.add(end)
        except ssl.SSLWantReadError:
            continue
    assert done == {ours, theirs}
    return theirs


def anybody() -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    return client


def shown(server: ssl.SSLContext, name: str | None) -> tuple[str, ...]:
    der = shake(server, anybody(), name).getpeercert(binary_form=True)
    assert der is not None
    return leaf_facts(ssl.DER_cert_to_PEM_cert(der).encode()).names


def test_a_matching_pair_makes_a_context_of_modern_tls(authority: trustme.CA) -> None:
    context = server_context(TlsFiles((pair(authority, "mx.example.com"),)))

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_key_of_another_certificate_is_refused(authority: trustme.CA) -> None:
    certificate = pair(authority, "mx.example.com").certificate
    other_key = pair(authority, "mx.example.org").private_key

    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        server_context(TlsFiles((KeyPair(certificate, other_key),)))


def test_what_is_no_certificate_is_refused(authority: trustme.CA) -> None:
    key = pair(authority, "mx.example.com").private_key
    with pytest.raises(ssl.SSLError):
        server_context(TlsFiles((KeyPair(b"not a certificate", key),)))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, "mx.example.com"),
        ("mx.example.com", "mx.example.com"),
        ("mx.example.org", "mx.example.org"),
        ("MX.Example.ORG", "mx.example.org"),
        # a wildcard is one label, and an exact name comes before it
        ("a.example.net", "*.example.net"),
        ("exact.example.net", "exact.example.net"),
        ("a.b.example.net", "mx.example.com"),
        ("example.net", "mx.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("nobody.we.know", "mx.example.com"),
    ],
)
def test_the_name_asked_for_chooses(
    authority: trustme.CA, asked: str | None, expected: str
) -> None:
    names = ("mx.example.com", "mx.example.org", "*.example.net", "exact.example.net")
    pairs = [pair(authority, name) for name in (*names, "bücher.example")]
    assert shown(server_context(TlsFiles(tuple(pairs))), asked) == (expected,)


def test_a_final_dot_in_the_name_makes_no_difference(authority: trustme.CA) -> None:
    pairs = (pair(authority, "mx.example.com"), pair(authority, "mx.example.org"))
    assert shown(server_context(TlsFiles(pairs)), "mx.example.org.") == ("mx.example.org",)


def _client(ciphers: str) -> ssl.SSLContext:
    client = anybody()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(ciphers)
    return client


@pytest.mark.parametrize("first", [RSA, ECDSA])
@pytest.mark.parametrize("name", [None, "mx.example.com", "nobody.we.know"])
def test_with_two_key_types_the_handshake_takes_what_the_client_can(
    authority: trustme.CA, first: trustme.KeyType, name: str | None
) -> None:
    second = ECDSA if first is RSA else RSA
    pairs = [pair(authority, "mx.example.com", key_type=kind) for kind in (first, second)]
    other = pair(authority, "mx.example.org")
    for files in (TlsFiles((*pairs,)), TlsFiles((*pairs, other))):
        context = server_context(files)
        for kind in (RSA, ECDSA):
            cipher = shake(context, _client(f"ECDHE+a{kind.name}"), name).cipher()
            assert cipher is not None
            assert f"-{kind.name}-" in cipher[0]


def test_a_client_may_show_a_certificate_yet_not_a_bad_one(authority: trustme.CA) -> None:
    pairs = (pair(authority, "mx.example.com"), pair(authority, "mx.example.org"))
    files = TlsFiles(pairs, authority.cert_pem.bytes())
    for name in (None, "mx.example.org"):
        context = server_context(files, ask_clients=True)
        shake(context, anybody(), name)
        partner, stranger = anybody(), anybody()
        authority.issue_cert("partner.example.net").configure_cert(partner)
        trustme.CA().issue_cert("partner.example.net").configure_cert(stranger)
        shake(context, partner, name)
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(context, stranger, name)
        shake(server_context(files), stranger, name)  # who is not asked shows none
