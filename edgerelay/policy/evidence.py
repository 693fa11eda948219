"""What one policy finds out and others may build on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuthenticationResult:
    """One ``resinfo`` of an Authentication-Results field (RFC 8601 section 2.2).

    ``properties`` are pairs such as ``("smtp.mailfrom", "user@example.com")``, in their order.
    Text may come from anybody: whoever composes the field quotes it, or leaves it out.
    """

    method: str  #: "spf", "dkim" … as registered with IANA
    result: str  #: "pass", "fail" … as registered for the method
    properties: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    comment: str = ""


class Evidence:
    """Base of a fact, published once by its provider: a frozen, slotted dataclass."""

    __slots__ = ()

    @property
    def authentication_results(self) -> tuple[AuthenticationResult, ...]:
        """What it says in the Authentication-Results field; nothing by default."""
        return ()


class EvidenceUnavailable(Exception):
    """The provider failed, was not asked or was cut; let it pass, and ``on_error`` answers."""
