"""A context is made from octets, and only from a pair that belongs together."""

from __future__ import annotations

import ssl

import pytest
import trustme

from edgerelay.net.tls import server_context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def pair(authority: trustme.CA, name: str) -> tuple[bytes, bytes]:
    issued = authority.issue_cert(name)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return chain, issued.private_key_pem.bytes()


def test_a_matching_pair_makes_a_context_of_modern_tls(authority: trustme.CA) -> None:
    context = server_context(*pair(authority, "mx.example.com"))

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_key_of_another_certificate_is_refused(authority: trustme.CA) -> None:
    certificate, _ = pair(authority, "mx.example.com")
    _, other_key = pair(authority, "mx.example.org")

    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        server_context(certificate, other_key)


def test_what_is_no_certificate_is_refused(authority: trustme.CA) -> None:
    with pytest.raises(ssl.SSLError):
        server_context(b"not a certificate", pair(authority, "mx.example.com")[1])
