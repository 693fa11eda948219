"""Evidence that the bundled policies publish, here so that any policy may build on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from edgerelay.policy.evidence import AuthenticationResult, Evidence


class SpfOutcome(Enum):
    """RFC 7208 section 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105  a word of the RFC
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class SpfCheck:
    """One identity's result. ``domain`` is whose policy was asked, in A-labels."""

    identity: Literal["helo", "mailfrom"]
    outcome: SpfOutcome
    domain: str
    #: The identity as it is shown: "user@example.com", or a HELO name.
    text: str
    #: Why, for the operator and the field's reason; ASCII, one line.
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SpfResult(Evidence):
    """What SPF says of this client and transaction (RFC 7208): the MAIL FROM identity, and the
    HELO identity if it was asked. A trusted client is asked of neither."""

    checks: tuple[SpfCheck, ...]

    @property
    def mail_from(self) -> SpfCheck | None:
        return next((check for check in self.checks if check.identity == "mailfrom"), None)

    @property
    def helo(self) -> SpfCheck | None:
        return next((check for check in self.checks if check.identity == "helo"), None)

    @property
    def authentication_results(self) -> tuple[AuthenticationResult, ...]:
        """MAIL FROM first: some who read the field look for one result of SPF and no more."""
        return tuple(
            AuthenticationResult(
                "spf", check.outcome.value, ((f"smtp.{check.identity}", check.text),), check.reason
            )
            for check in (self.mail_from, self.helo)
            if check is not None
        )


class DkimOutcome(Enum):
    """RFC 8601 section 2.7.1."""

    NONE = "none"
    PASS = "pass"  # noqa: S105  a word of the RFC
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class DkimSignature:
    """One DKIM-Signature field and what came of it (RFC 6376). Text is ASCII, one line."""

    outcome: DkimOutcome
    domain: str = ""  #: d=, lower case
    selector: str = ""  #: s=
    identity: str = ""  #: i=
    algorithm: str = ""  #: a=
    signature: str = ""  #: the first characters of b= (RFC 6008)
    reason: str = ""  #: why it is no pass
    is_testing: bool = False  #: the key says t=y
    #: Octets of the canonical body that the signature leaves unsigned (l=).
    unsigned: int = 0

    @property
    def properties(self) -> tuple[tuple[str, str], ...]:
        """What RFC 8601 section 2.7.1 and RFC 6008 register for it; i= if it says more than d=."""
        identity = "" if self.identity == f"@{self.domain}" else self.identity
        found = (
            ("header.d", self.domain),
            ("header.i", identity),
            ("header.s", self.selector),
            ("header.a", self.algorithm),
            ("header.b", self.signature),
        )
        return tuple((name, value) for name, value in found if value)

    @property
    def comment(self) -> str:
        """What a reader of the result should know besides."""
        words = ["test mode"] if self.is_testing else []
        if self.unsigned:
            words.append(f"{self.unsigned} octets of the body not signed")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class DkimResult(Evidence):
    """The signatures of a message, in the order of its fields."""

    signatures: tuple[DkimSignature, ...]
    more: int = 0  #: signatures below them that nobody looked at

    @property
    def passed(self) -> tuple[DkimSignature, ...]:
        return tuple(s for s in self.signatures if s.outcome is DkimOutcome.PASS)

    @property
    def authentication_results(self) -> tuple[AuthenticationResult, ...]:
        if not self.signatures:
            return (AuthenticationResult("dkim", DkimOutcome.NONE.value),)
        return tuple(
            AuthenticationResult(
                "dkim",
                signature.outcome.value,
                signature.properties,
                signature.reason,
                signature.comment,
            )
            for signature in self.signatures
        )
