"""A DKIM-Signature field, read and checked before any key is asked for (RFC 6376).

It does not use dkimpy's `verify_headerprep`: that reads the wall clock itself, has two
searches that are quadratic in white space, and lets through what is refused here.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import idna

from edgerelay.policy import DkimOutcome, DkimSignature, HeaderField
from edgerelay_policies.dkim.refusal import Refused
from edgerelay_policies.dkim.tags import FWS, TagError, items, parse_tags, without_space

Canonicalization: TypeAlias = Literal["simple", "relaxed"]
KeyType: TypeAlias = Literal["rsa", "ed25519"]

#: Octets of a field. One with a 4096-bit signature has about 1,500.
LONGEST: Final = 8 * 1024
#: Names in h=. Large senders list about 40, with every name twice to keep more out.
MOST_NAMES: Final = 256
#: Seconds by which a signer's clock and ours may differ.
SKEW: Final = 300

_REQUIRED: Final = ("v", "a", "b", "bh", "d", "h", "s")  # RFC 6376 section 3.5
#: rsa-sha1 is no longer one (RFC 8301 section 3.1); ed25519: RFC 8463 section 3.
_ALGORITHMS: Final[dict[bytes, KeyType]] = {
    b"rsa-sha256": "rsa",
    b"ed25519-sha256": "ed25519",
}
_CANONICALIZATIONS: Final[dict[bytes, Canonicalization]] = {
    b"simple": "simple",
    b"relaxed": "relaxed",
}
# Host names, and the underscore of names that are no hosts.
_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*")
_FIELD_NAME: Final = re.compile(rb"[!-9;-~]{1,998}")  # RFC 5322 section 2.2


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """What a field asks to be verified. ``shown`` is its result but for the outcome."""

    shown: DkimSignature
    field: HeaderField
    key_type: KeyType
    header: Canonicalization
    body: Canonicalization
    names: tuple[str, ...]  #: of h=, lower case, in its order
    body_hash: bytes  #: SHA-256
    signature: bytes
    length: int | None  #: octets of the canonical body that are signed (l=); None is all
    identity_domain: str  #: what follows the @ in i=

    @property
    def key_name(self) -> str:
        """Where the key is (RFC 6376 section 3.6.2.1)."""
        return f"{self.shown.selector}._domainkey.{self.shown.domain}"

    def refused(self, error: Refused) -> DkimSignature:
        return replace(self.shown, outcome=error.outcome, reason=error.reason)


def read_signature(field: HeaderField, now: float) -> Signature | DkimSignature:
    """Read one field; what cannot be verified is a result already."""
    if len(field.raw) > LONGEST:
        return DkimSignature(DkimOutcome.POLICY, reason="signature field too long")
    try:
        tags = parse_tags(field.value)
    except TagError as error:
        return DkimSignature(DkimOutcome.PERMERROR, reason=str(error))
    shown = _shown(tags)
    try:
        return _checked(field, tags, shown, now)
    except Refused as error:
        return replace(shown, outcome=error.outcome, reason=error.reason)


def _checked(
    field: HeaderField, tags: dict[str, bytes], shown: DkimSignature, now: float
) -> Signature:
    """RFC 6376 section 6.1.1, in its order where it has one."""
    for name in _REQUIRED:
        if name not in tags:
            raise Refused(f"no {name}=")
    if tags["v"] != b"1":
        raise Refused("unknown version")
    domain, selector = _domain(tags["d"], "d="), _name(tags["s"], "s=")
    if "." not in domain:
        raise Refused("d= is not valid")
    header, body = _canonicalization(tags.get("c", b"simple/simple"))
    if b"dns/txt" not in (item.lower() for item in items(tags.get("q", b"dns/txt"))):
        raise Refused("unknown query method")
    _check_times(tags, now)
    return Signature(
        replace(shown, domain=domain, selector=selector),
        field,
        _key_type(tags["a"]),
        header,
        body,
        _signed_names(tags["h"]),
        _body_hash(tags["bh"]),
        _base64(tags["b"], "b="),
        _number(tags["l"], "l=", 76) if "l" in tags else None,
        _identity_domain(tags.get("i", b""), domain),
    )


def _key_type(algorithm: bytes) -> KeyType:
    if algorithm == b"rsa-sha1":
        raise Refused("rsa-sha1 is obsolete")  # RFC 8301 section 3.1
    try:
        return _ALGORITHMS[algorithm]
    except KeyError:
        raise Refused("unknown algorithm") from None


def _canonicalization(value: bytes) -> tuple[Canonicalization, Canonicalization]:
    header, _, body = value.partition(b"/")
    try:
        return _CANONICALIZATIONS[header], _CANONICALIZATIONS[body or b"simple"]
    except KeyError:
        raise Refused("unknown canonicalization") from None


def _signed_names(value: bytes) -> tuple[str, ...]:
    names = [name.lower() for name in items(value)]
    if len(names) > MOST_NAMES:
        raise Refused(f"over {MOST_NAMES} names in h=", DkimOutcome.POLICY)
    if not all(map(_FIELD_NAME.fullmatch, names)):
        raise Refused("h= is no list of names")
    if b"from" not in names:
        raise Refused("From field not signed")  # RFC 6376 section 5.4
    return tuple(name.decode() for name in names)


def _body_hash(value: bytes) -> bytes:
    digest = _base64(value, "bh=")
    if len(digest) != 32:
        raise Refused("bh= is no SHA-256")
    return digest


def _base64(value: bytes, tag: str) -> bytes:
    try:
        return base64.b64decode(without_space(value), validate=True)
    except ValueError:
        raise Refused(f"{tag} is not base64") from None


def _number(value: bytes, tag: str, digits: int) -> int:
    if not (value.isdigit() and len(value) <= digits):
        raise Refused(f"{tag} is no number")
    return int(value)


def _check_times(tags: dict[str, bytes], now: float) -> None:
    """A time of signing that lies ahead is nothing to us (RFC 6376 section 3.5, t=)."""
    signed = _number(tags["t"], "t=", 12) if "t" in tags else None
    if "x" not in tags:
        return
    expires = _number(tags["x"], "x=", 12)
    if signed is not None and expires <= signed:
        raise Refused("x= is not after t=")
    if expires + SKEW < now:
        raise Refused("signature expired", DkimOutcome.POLICY)


def _identity_domain(identity: bytes, domain: str) -> str:
    """i= is in the signing domain or below it (RFC 6376 section 3.5)."""
    if not identity:
        return domain
    _, at, host = identity.rpartition(b"@")
    if not at:
        raise Refused("i= has no domain")
    name = _domain(host, "i=")
    if name != domain and not name.endswith(f".{domain}"):
        raise Refused("i= is not under d=")
    return name


def _domain(value: bytes, tag: str) -> str:
    """A domain in A-labels; U-labels are allowed (RFC 8616 section 5)."""
    if value.isascii() or len(value) > 512:
        return _name(value, tag)
    try:
        return _name(idna.encode(value.decode(), uts46=True), tag)
    except UnicodeError:
        raise Refused(f"{tag} is not valid") from None


def _name(value: bytes, tag: str) -> str:
    text = value.decode("ascii", "replace").lower()
    if len(text) > 253 or not _NAME.fullmatch(text):
        raise Refused(f"{tag} is not valid")
    return text


def _shown(tags: dict[str, bytes]) -> DkimSignature:
    """What may be told of a signature, however wrong it is: printable ASCII, bounded."""
    return DkimSignature(
        DkimOutcome.NEUTRAL,
        domain=_text(tags.get("d", b""), 253).lower(),
        selector=_text(tags.get("s", b""), 253).lower(),
        identity=_text(tags.get("i", b""), 320),
        algorithm=_text(tags.get("a", b""), 32).lower(),
        # RFC 6008 section 4: enough of it to tell two signatures apart
        signature=_text(without_space(tags.get("b", b"")), 8),
    )


def _text(value: bytes, longest: int) -> str:
    """What is not printable ASCII becomes a question mark; FWS (folds) is left out."""
    text = value[: longest + 64].translate(_PRINTABLE, FWS)
    return text[:longest].decode("ascii")


_PRINTABLE: Final = bytes(c if 0x20 < c < 0x7F else ord("?") for c in range(256))
