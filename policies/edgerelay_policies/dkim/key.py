"""A key record: what a domain publishes for a selector (RFC 6376 section 3.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgerelay.policy import Answer, DkimOutcome, Record, Status
from edgerelay_policies.dkim.library import PublicKey, public_key
from edgerelay_policies.dkim.refusal import Refused
from edgerelay_policies.dkim.signature import Signature
from edgerelay_policies.dkim.tags import TagError, items, parse_tags, without_space

#: Octets of a record. One with a 4096-bit key has about 800.
LONGEST: Final = 4096
#: TXT records at one name that are looked at.
MOST_RECORDS: Final = 10

#: RFC 8301 section 3.2.
LEAST_BITS: Final = 1024
MOST_BITS: Final = 4096
#: A larger exponent costs as much as it has bits, and nobody uses one.
MOST_EXPONENT: Final = 2**32


@dataclass(frozen=True, slots=True)
class Key:
    public: PublicKey
    is_testing: bool  #: t=y
    is_strict: bool  #: t=s: i= is in the signing domain itself, not below it

    def check(self, signature: Signature, min_rsa_bits: int) -> None:
        """Raise `Refused` if it is not for that signature, or not to be trusted."""
        if self.public.key_type != signature.key_type:
            raise Refused("key is of another type than a=")
        if self.is_strict and signature.identity_domain != signature.shown.domain:
            raise Refused("i= is below d=, which the key forbids")
        if self.public.key_type == "rsa":
            _check_rsa(self.public, min_rsa_bits)


def _check_rsa(public: PublicKey, min_rsa_bits: int) -> None:
    if public.bits < LEAST_BITS:
        raise Refused(f"RSA key of {public.bits} bits")
    if public.bits < min_rsa_bits or public.bits > MOST_BITS:
        raise Refused(f"RSA key of {public.bits} bits", DkimOutcome.POLICY)
    if public.exponent >= MOST_EXPONENT:
        raise Refused("RSA exponent too large", DkimOutcome.POLICY)


def key_of(answer: Answer) -> Key:
    """The key that the DNS gave; raises `Refused` (RFC 6376 section 6.1.2)."""
    if answer.status is Status.TEMPORARY:
        raise Refused("key could not be fetched", DkimOutcome.TEMPERROR)
    if answer.status is not Status.FOUND:
        raise Refused("no key for signature")
    return _read(_only(answer.records))


def _only(records: Sequence[Record]) -> dict[str, bytes]:
    """The one record that is a key.

    Several are undefined (RFC 6376 section 3.6.2.2): which comes first changes from answer to
    answer, so the result would too. Other text at the name is passed over.
    """
    texts = [b"".join(each) for each in records[:MOST_RECORDS] if isinstance(each, tuple)]
    keys = [tags for tags in map(_tags, texts) if tags is not None]
    if len(keys) > 1:
        raise Refused("several keys for signature")
    if not keys:
        raise Refused("key record is not valid")
    return keys[0]


def _tags(text: bytes) -> dict[str, bytes] | None:
    if len(text) > LONGEST:
        return None
    try:
        tags = parse_tags(text)
    except TagError:
        return None
    if "p" not in tags or tags.get("v", b"DKIM1") != b"DKIM1":
        return None
    return tags


def _read(tags: dict[str, bytes]) -> Key:
    if "v" in tags and next(iter(tags)) != "v":
        raise Refused("key record is not valid")  # RFC 6376 section 3.6.1: the first tag
    if "s" in tags and not {b"*", b"email"} & set(items(tags["s"])):
        raise Refused("key is not for email")
    if "h" in tags and b"sha256" not in items(tags["h"]):
        raise Refused("key forbids SHA-256")
    p = without_space(tags["p"])
    if not p:
        raise Refused("key revoked")
    flags = items(tags.get("t", b""))
    public = public_key(tags.get("k", b"rsa"), p)
    return Key(public, is_testing=b"y" in flags, is_strict=b"s" in flags)
