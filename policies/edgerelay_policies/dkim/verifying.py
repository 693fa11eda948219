"""From signatures, keys and a body to results: what needs neither the DNS nor a clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgerelay.policy import DkimOutcome, DkimSignature, HeaderField
from edgerelay_policies.dkim.body import BodyHashes
from edgerelay_policies.dkim.key import Key
from edgerelay_policies.dkim.library import header_verifies
from edgerelay_policies.dkim.refusal import Refused
from edgerelay_policies.dkim.signature import Signature


@dataclass(frozen=True, slots=True)
class Verifiable:
    """A signature whose key is at hand and fits it."""

    signature: Signature
    key: Key


class Verification:
    """Of all signatures of one message: the body goes by once, then each is verified."""

    def __init__(self, fields: Sequence[HeaderField], wanted: Sequence[Verifiable]) -> None:
        """``fields`` are all of the header."""
        self._fields = fields
        self._wanted = wanted
        #: What dkimpy let escape, with the domain whose signature it was.
        self.errors: list[tuple[str, Exception]] = []
        self._hashes = BodyHashes({(w.signature.body, w.signature.length) for w in wanted})

    def update(self, piece: bytes) -> None:
        self._hashes.update(piece)

    def finish(self) -> Mapping[Signature, DkimSignature]:
        self._hashes.finish()
        return {each.signature: self._result(each) for each in self._wanted}

    def whole(self, body: bytes) -> Mapping[Signature, DkimSignature]:
        self.update(body)
        return self.finish()

    def _result(self, each: Verifiable) -> DkimSignature:
        signature, key = each.signature, each.key
        shown = replace(signature.shown, is_testing=key.is_testing)
        try:
            unsigned = self._check_body(signature)
            if not header_verifies(signature, key.public, self._fields):
                raise Refused("signature did not verify", DkimOutcome.FAIL)
        except Refused as error:
            return replace(shown, outcome=error.outcome, reason=error.reason)
        except Exception as error:  # for input that nobody has thought of
            self.errors.append((shown.domain, error))
            return replace(shown, outcome=DkimOutcome.PERMERROR, reason="not verifiable")
        return replace(shown, outcome=DkimOutcome.PASS, unsigned=unsigned)

    def _check_body(self, signature: Signature) -> int:
        """Compare the hash, which costs less than the signature, and return what is unsigned."""
        size = self._hashes.size(signature.body)
        length = size if signature.length is None else signature.length
        if length > size:  # RFC 6376 section 3.5, l=
            raise Refused("l= is more than the body")
        if self._hashes.digest(signature.body, signature.length) != signature.body_hash:
            raise Refused("body hash did not verify", DkimOutcome.FAIL)
        return size - length
