"""dkimpy, with what is quadratic in it replaced, and asked for no more than it does well.

It canonicalises and hashes the header, and verifies RSA and Ed25519. Fields, tags, keys and
the body are ours: what it would accept too much of, or take too long for, never reaches it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import dkim
import dkim.canonicalization
import dkim.crypto

from edgerelay.policy import HeaderField
from edgerelay_policies.dkim.refusal import Refused
from edgerelay_policies.dkim.signature import Signature


def strip_trailing_whitespace(content: bytes) -> bytes:
    """Remove white space before each CRLF. The original is quadratic in a run of spaces."""
    # To one space first, which `compress_whitespace` does anyway, and always after this.
    return compress_whitespace(content).replace(b" \r\n", b"\r\n")


def compress_whitespace(content: bytes) -> bytes:
    """One space for each run: as often as the longest run can be halved, at memory speed."""
    content = content.replace(b"\t", b" ")
    while b"  " in content:
        content = content.replace(b"  ", b" ")
    return content


def unfold_header_value(content: bytes) -> bytes:
    """Remove line ends, of which one field may have half a million."""
    return content.replace(b"\r\n", b"").replace(b"\n", b"")


def str2int(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def int2str(number: int, length: int = -1) -> bytes:
    least = max(1, (number.bit_length() + 7) // 8)
    return number.to_bytes(least if length < 0 else length, "big")


#: As dkimpy's, but a run of white space is tried in one way only.
RE_BTAG: Final = re.compile(rb"([;\s]b\s*=)(?:\s*[a-zA-Z0-9+/=])*(?:\r?\n\Z)?")

# Module globals, looked up at each call: replaced once for the whole process. Property tests
# hold each replacement to its original.
dkim.canonicalization.strip_trailing_whitespace = strip_trailing_whitespace
dkim.canonicalization.compress_whitespace = compress_whitespace
dkim.canonicalization.unfold_header_value = unfold_header_value
dkim.crypto.str2int = str2int
dkim.crypto.int2str = int2str
dkim.RE_BTAG = RE_BTAG


@dataclass(frozen=True, slots=True)
class PublicKey:
    key_type: Literal["rsa", "ed25519"]
    bits: int
    exponent: int  #: RSA; else 0
    material: Any  #: as dkimpy wants it


@lru_cache(maxsize=512)  # a domain's key is asked for with each of its messages
def public_key(key_type: bytes, p: bytes) -> PublicKey:
    """Read the key in p=, which is base64 without space. Raises `Refused`."""
    try:
        base64.b64decode(p, validate=True)
        material, bits, tag, _ = dkim.evaluate_pk(b"", b"k=" + key_type + b"; p=" + p)
    except Exception:  # dkimpy's own, and what its parsers let escape
        raise Refused("key is not valid") from None
    if tag == b"ed25519":
        return PublicKey("ed25519", bits, 0, material)
    return PublicKey("rsa", bits, material["publicExponent"], material)


def header_verifies(signature: Signature, key: PublicKey, fields: Sequence[HeaderField]) -> bool:
    """Hash what the signature names of ``fields``, all of the header, and verify it."""
    if not _fits(signature.signature, key):
        return False
    relaxed = signature.header == "relaxed"
    chosen = [_pair(field, relaxed) for field in choose(fields, signature.names)]
    verifier = dkim.DKIM()
    # Only what is signed, last first: each name is found at once, instead of by a search
    # through the header that is as long as the product of both.
    verifier.headers = chosen[::-1]
    verifier.body = b""
    verifier.pk, verifier.keysize, verifier.ktag = key.material, key.bits, key.key_type.encode()
    # Without bh= it leaves the body alone.
    tags = {
        b"a": signature.shown.algorithm.encode(),
        b"b": base64.b64encode(signature.signature),
        b"c": signature.header.encode(),
    }
    names = [name.lower().rstrip() if relaxed else name.lower() for name, _ in chosen]
    verified = verifier.verify_sig_process(tags, names, _pair(signature.field, relaxed), None)
    return bool(verified)


def choose(fields: Sequence[HeaderField], names: Sequence[str]) -> list[HeaderField]:
    """The fields that h= names, from the bottom up for each name (RFC 6376 section 5.4.2).

    A name that is listed more often than it occurs stands for no field: so one that is added
    later breaks the signature.
    """
    wanted = set(names)
    by_name: dict[str, list[HeaderField]] = {}
    for field in fields:
        if field.name in wanted:
            by_name.setdefault(field.name, []).append(field)
    return [by_name[name].pop() for name in names if by_name.get(name)]


def _pair(field: HeaderField, relaxed: bool) -> tuple[bytes, bytes]:
    name, _, value = field.raw.partition(b":")
    return name, value if value.endswith(b"\r\n") else value + b"\r\n"


def _fits(signature: bytes, key: PublicKey) -> bool:
    """A signature has the length of its key (RFC 8017 section 8.2.2) and is less than it."""
    if key.key_type == "ed25519":
        return len(signature) == 64
    modulus = key.material["modulus"]
    return len(signature) == (key.bits + 7) // 8 and str2int(signature) < modulus
