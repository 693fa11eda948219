"""What we need to know of a certificate: for whom it is, what key it holds, and until when.

Neither `ssl` nor OpenSSL through it tells that of a leaf that is only loaded. This reads the
outline of RFC 5280 section 4.1 and believes what it finds: whether a certificate is any good is
OpenSSL's to say, which has been asked before.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: The labels that OpenSSL takes for a certificate.
_PEM: Final = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)"
    rb"-----END (?:X509 |TRUSTED )?CERTIFICATE-----",
    re.DOTALL,
)

_INTEGER: Final = 0x02
_OID: Final = 0x06
_UTC_TIME: Final = 0x17
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0  # [0] of a TBSCertificate
_EXTENSIONS: Final = 0xA3  # [3] of a TBSCertificate
_DNS_NAME: Final = 0x82  # [2] of a GeneralName

_COMMON_NAME: Final = bytes.fromhex("550403")
_SUBJECT_ALT_NAME: Final = bytes.fromhex("551d11")

#: By the algorithm of the key. OpenSSL keeps one certificate for each of them in a context.
_KEY_TYPES: Final = {
    bytes.fromhex("2a864886f70d010101"): "RSA",
    bytes.fromhex("2a864886f70d01010a"): "RSA-PSS",
    bytes.fromhex("2a8648ce3d0201"): "ECDSA",
    bytes.fromhex("2b6570"): "Ed25519",
    bytes.fromhex("2b6571"): "Ed448",
}


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """``names`` are DNS names in lower case and without a final dot, ``*.example.com`` too."""

    names: tuple[str, ...]
    key_type: str  #: "RSA", "ECDSA", ..., or the algorithm's OID in hexadecimal
    not_after: float  #: seconds since the epoch


def leaf_facts(chain: bytes) -> CertificateFacts:
    """Read the first certificate of a PEM file. Raises ValueError if there is none to read."""
    match = _PEM.search(chain)
    if match is None:
        raise ValueError("no certificate in PEM form")
    try:
        return _facts(base64.b64decode(match[1]))
    except (binascii.Error, IndexError) as error:
        raise ValueError(f"no certificate: {error}") from None


def _facts(der: bytes) -> CertificateFacts:
    """Read the outline: names, key and dates stand at fixed places of a TBSCertificate."""
    certificate = _expect(_SEQUENCE, _elements(der))
    fields = _elements(_expect(_SEQUENCE, _elements(certificate)))
    tag, _ = _next(fields)
    if tag == _VERSION:
        tag, _ = _next(fields)
    if tag != _INTEGER:
        raise ValueError("no serial number")
    _expect(_SEQUENCE, fields)  # signature
    _expect(_SEQUENCE, fields)  # issuer
    validity = _elements(_expect(_SEQUENCE, fields))
    _next(validity)
    not_after = _time(*_next(validity))
    subject = _expect(_SEQUENCE, fields)
    algorithm = _elements(_expect(_SEQUENCE, _elements(_expect(_SEQUENCE, fields))))
    oid = _expect(_OID, algorithm)
    # RFC 6125 section 6.4.4: a common name counts only where there is no DNS name.
    names = tuple(_alternative_names(fields)) or tuple(_common_names(subject))
    return CertificateFacts(names, _KEY_TYPES.get(oid, oid.hex()), not_after)


def _alternative_names(fields: Iterator[tuple[int, bytes]]) -> Iterator[str]:
    for tag, value in fields:
        if tag != _EXTENSIONS:
            continue
        for _, extension in _elements(_expect(_SEQUENCE, _elements(value))):
            parts = list(_elements(extension))
            if parts[0] == (_OID, _SUBJECT_ALT_NAME):
                names = _expect(_SEQUENCE, _elements(parts[-1][1]))
                yield from (_name(text) for kind, text in _elements(names) if kind == _DNS_NAME)


def _common_names(subject: bytes) -> Iterator[str]:
    for _, attributes in _elements(subject):
        for _, attribute in _elements(attributes):
            parts = list(_elements(attribute))
            if parts[0] == (_OID, _COMMON_NAME):
                yield _name(parts[-1][1])


def _name(octets: bytes) -> str:
    return octets.decode("ascii", "replace").lower().removesuffix(".")


def _time(tag: int, octets: bytes) -> float:
    """RFC 5280 section 4.1.2.5: YYMMDDHHMMSSZ until 2049, YYYYMMDDHHMMSSZ from then on."""
    text = octets.decode("ascii", "replace")
    if tag == _UTC_TIME:
        text = ("20" if text[:2] < "50" else "19") + text
    if not re.fullmatch(r"[0-9]{14}Z", text):
        raise ValueError("no date that RFC 5280 allows")
    year, rest = int(text[:4]), [int(text[at : at + 2]) for at in range(4, 14, 2)]
    return float(calendar.timegm((year, *rest)))


def _expect(tag: int, elements: Iterator[tuple[int, bytes]]) -> bytes:
    found, value = _next(elements)
    if found != tag:
        raise ValueError(f"expected element {tag:#04x}, not {found:#04x}")
    return value


def _next(elements: Iterator[tuple[int, bytes]]) -> tuple[int, bytes]:
    for element in elements:
        return element
    raise ValueError("an element is missing")


def _elements(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of a DER encoding, each as its identifier octet and its contents."""
    at = 0
    while at < len(octets):
        tag, length, at = octets[at], octets[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(octets[at : at + count], "big")
            at += count
        if at + length > len(octets):
            raise ValueError("an element is longer than what it is in")
        yield tag, octets[at : at + length]
        at += length
