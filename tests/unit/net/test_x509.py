"""Names, key and end of a certificate, as its octets have them; nonsense is a ValueError."""

from __future__ import annotations

import base64
import random
import ssl

import pytest
import trustme

from edgerelay.net.x509 import leaf_facts


def pem(issued: trustme.LeafCert) -> bytes:
    return issued.cert_chain_pems[0].bytes()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize(
    ("identities", "names"),
    [
        (("mx.example.com",), ("mx.example.com",)),
        (("MX.Example.COM", "*.example.org"), ("mx.example.com", "*.example.org")),
        (("bücher.example",), ("xn--bcher-kva.example",)),
        # what is no DNS name is no name for SNI
        (("mx.example.com", "192.0.2.1", "a@example.com"), ("mx.example.com",)),
        (("192.0.2.1",), ()),
        # more than 127 and 255 octets: lengths in more than one octet
        (tuple(f"host-{n}.example.com" for n in range(40)),) * 2,
    ],
)
def test_names_are_those_of_the_alternative_names(
    authority: trustme.CA, identities: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert leaf_facts(pem(authority.issue_cert(*identities))).names == names


def test_a_common_name_counts_where_there_is_no_other(authority: trustme.CA) -> None:
    both = authority.issue_cert("mx.example.com", common_name="other.example.com")
    assert leaf_facts(pem(both)).names == ("mx.example.com",)
    alone = authority.issue_cert("192.0.2.1", common_name="Other.example.com")
    assert leaf_facts(pem(alone)).names == ("other.example.com",)


@pytest.mark.parametrize("key_type", [trustme.KeyType.RSA, trustme.KeyType.ECDSA])
def test_the_type_of_the_key(authority: trustme.CA, key_type: trustme.KeyType) -> None:
    issued = authority.issue_cert("mx.example.com", key_type=key_type)
    assert leaf_facts(pem(issued)).key_type == key_type.name


@pytest.mark.parametrize("year", ["2031", "2049", "2050", "2099"])
def test_the_end_is_the_one_that_openssl_reads(authority: trustme.CA, year: str) -> None:
    """UTCTime and GeneralizedTime; a CA's certificate, since `ssl` shows no other."""
    from datetime import UTC, datetime

    end = datetime(int(year), 3, 4, 5, 6, 7, tzinfo=UTC)
    issued = authority.issue_cert("mx.example.com", not_after=end)
    assert leaf_facts(pem(issued)).not_after == end.timestamp()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.cert_pem.bytes().decode())
    (seen,) = context.get_ca_certs()
    expected = ssl.cert_time_to_seconds(str(seen["notAfter"]))
    assert leaf_facts(authority.cert_pem.bytes()).not_after == expected


def test_the_first_certificate_of_a_file_is_meant(authority: trustme.CA) -> None:
    issued = authority.issue_cert("mx.example.com")
    file = b"# of this year\n" + pem(issued) + authority.cert_pem.bytes()
    assert leaf_facts(file) == leaf_facts(pem(issued))
    renamed = pem(issued).replace(b"CERTIFICATE", b"X509 CERTIFICATE")
    assert leaf_facts(renamed) == leaf_facts(pem(issued))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"hello",
        b"\x30",
        b"\x30\x03\x02\x01",
        b"\x30\x00",
        b"\x30\x02\x30\x00",
        b"\x02\x01\x01",
    ],
)
def test_nonsense_is_a_value_error(octets: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever its text
        leaf_facts(octets)
    with pytest.raises(ValueError):  # noqa: PT011 - whatever its text
        leaf_facts(wrapped(octets))


def test_damage_anywhere_is_nonsense_or_harmless(authority: trustme.CA) -> None:
    """Nothing but ValueError comes out of it, whatever octet is another one or missing."""
    der = ssl.PEM_cert_to_DER_cert(pem(authority.issue_cert("mx.example.com")).decode())
    choice = random.Random(7)  # noqa: S311 - the same damage each time
    damaged = [der[:at] for at in range(len(der))]
    for at in range(len(der)):
        damaged.append(der[:at] + bytes([choice.randrange(256)]) + der[at + 1 :])
    for octets in damaged:
        try:
            leaf_facts(wrapped(octets))
        except ValueError:
            continue


def wrapped(der: bytes) -> bytes:
    text = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"
