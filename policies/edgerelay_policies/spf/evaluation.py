"""One evaluation by pyspf over the answers that are there, and the questions it lacks.

pyspf asks the DNS when it needs to, and cannot wait. So it never asks: a question whose answer
is not there is noted and counts as one that matches nothing. What comes out of such a run is
worth nothing but the list of questions; once they are answered, another run goes further. The
run that misses nothing is pyspf's own evaluation, and its result the result.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import spf

from edgerelay.policy import Answer, Mx, SpfOutcome, Status

Question = tuple[str, str]  #: name in lower case, record type

#: What a missing answer is taken for: a policy that matches nothing, or no record.
_NOT_YET: Final[Mapping[str, tuple[object, ...]]] = {"TXT": ((b"v=spf1",),)}

#: What pyspf is given to read, since its time is up to square in the length of a term and in
#: the dots beside a macro. A domain has at most 253 octets; records of 4 KiB are rare.
_TERM: Final = 400  #: octets
_RECORD: Final = 8192  #: octets
_RECORDS: Final = 32768  #: octets, of all records of a check
_TERMS: Final = 1500  #: of all records of a check
_DOTS: Final = 40  #: of a text with macros
_EXPLANATION: Final = 400  #: octets of an explanation before its macros are expanded

_UNPRINTABLE: Final = re.compile(r"[^ -~]+")


@dataclass(frozen=True, slots=True)
class Finding:
    """What check_host() found (RFC 7208 section 2.6).

    ``reason`` and ``explanation`` (section 6.2) are printable ASCII in one line, and bounded.
    """

    outcome: SpfOutcome
    reason: str = ""
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Arguments of check_host() (RFC 7208 section 4.1) besides the client's address."""

    local_part: str
    domain: str  #: A-labels, lower case
    helo: str


@dataclass(frozen=True, slots=True)
class _ExplainedAt:
    """Where an explanation is: asked for only once the result is fail."""

    name: str
    domain: str


class Evaluation(spf.query):
    """``answers`` are read while it runs; ``missing`` is in the order in which they were needed.

    All state is in the object and nothing awaits, so any number may be under way.
    """

    def __init__(
        self,
        client: IPv4Address | IPv6Address,
        identity: Identity,
        answers: Mapping[Question, Answer],
        *,
        receiver: str,
        now: int,
    ) -> None:
        local_part, domain = identity.local_part, identity.domain
        super().__init__(str(client), f"{local_part}@{domain}", identity.helo, receiver=receiver)
        # pyspf splits at the first "@", and a quoted local part may hold one
        self.l, self.o, self.d = local_part, domain, domain
        self.t = str(now)
        self._answers = answers
        self._octets = self._terms = 0
        self.missing: list[Question] = []
        self.used: dict[Question, Answer] = {}
        #: The result depends on nothing but the client, the domain and the answers.
        self.is_general = True

    def run(self) -> Finding | None:
        """Evaluate; None if an answer was missing."""
        try:
            result, _, text = self.check()
        except Exception:  # pyspf reads what strangers wrote: int() of 5,000 digits, for one
            result, text = "permerror", "the record cannot be read"
        if self.missing:
            return None
        outcome = SpfOutcome(result)
        if outcome in (SpfOutcome.TEMPERROR, SpfOutcome.PERMERROR):
            return Finding(outcome, printable(str(text).partition("Error: ")[2] or str(text), 120))
        if outcome not in (SpfOutcome.FAIL, SpfOutcome.SOFTFAIL):
            return Finding(outcome)
        explanation = ""
        if outcome is SpfOutcome.FAIL and isinstance(text, _ExplainedAt):
            explanation = self._explain(text)
            if self.missing:
                return None
        reason = printable(f"matches {self.mechanism}", 120) if self.mechanism else ""
        return Finding(outcome, reason, explanation)

    def _explain(self, where: _ExplainedAt) -> str:
        """RFC 7208 section 6.2: whatever is wrong with it, there is no explanation then."""
        self.d = where.domain
        try:
            texts = self.dns_txt(where.name, ignore_void=True)
            if len(texts) != 1 or len(texts[0]) > _EXPLANATION:
                return ""
            text = texts[0].decode("ascii")
            self.is_general &= "%" not in text
            return printable(self.expand(text, stripdot=False), 250)
        except (spf.TempError, spf.PermError, ValueError):
            return ""

    # -- what pyspf calls ---------------------------------------------------------------------

    def dns(
        self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False
    ) -> list[object]:
        """Answer from what is known; the resolver has followed aliases (RFC 7208 section 4.6.4
        for the limit of void lookups)."""
        name = name.removesuffix(".").lower()
        if not name.isascii() or not all(0 < len(label) < 64 for label in name.split(".")):
            return []  # no such question can be asked; RFC 8616 section 4 for non-ASCII
        answer = self._answers.get((name, qtype))
        if answer is None:
            self.missing.append((name, qtype))
            return list(_NOT_YET.get(qtype, ()))
        self.used[name, qtype] = answer
        if answer.status is Status.TEMPORARY:
            raise spf.TempError(f"no answer to {name} {qtype}")
        if not answer.records and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError("more than two lookups found nothing")
        return [
            (record.preference, record.host) if isinstance(record, Mx) else record
            for record in answer.records
        ]

    def dns_spf(self, domain: str) -> str | None:
        record = super().dns_spf(domain)
        if record is not None:
            self.is_general &= "%" not in record
            terms = record.split(" ")
            self._octets += len(record)
            self._terms += len(terms)
            if len(record) > _RECORD or self._octets > _RECORDS or self._terms > _TERMS:
                raise spf.PermError("the policy is too long")
            if max(map(len, terms)) > _TERM:
                raise spf.PermError("a term of the policy is too long")
        return record

    def expand(self, s: str, stripdot: bool = True) -> str:
        if "%" not in s and (len(s) <= 253 or not stripdot):
            # as pyspf would, which first searches all of it once for each label
            return s.removesuffix(".") if stripdot else s
        if s.count(".") > _DOTS:
            raise spf.PermError("a term of the policy is too long")
        return super().expand(s, stripdot)

    def get_explanation(self, spec: str) -> object:
        return _ExplainedAt(spec, self.d)

    def validated_ptrs(self) -> list[str]:
        """RFC 7208 section 5.5: an error finds nothing, or skips a name; pyspf ends with it."""
        try:
            names = self.dns_ptr(self.i)[: spf.MAX_PTR]
        except spf.TempError:
            return []
        return [name for name in names if self._is_named(name)]

    def _is_named(self, name: str) -> bool:
        try:
            return self.cidrmatch(self.dns_a(name, self.A), self.cidrmax)
        except spf.TempError:
            return False

    def cidrmatch(self, ipaddrs: list[str], n: int) -> bool:
        """As pyspf's, which makes two network objects for each comparison: half its time."""
        shift = self.cidrmax - n
        own = int(self.ipaddr) >> shift
        family = socket.AF_INET if self.cidrmax == 32 else socket.AF_INET6
        try:
            return any(
                int.from_bytes(socket.inet_pton(family, address), "big") >> shift == own
                for address in ipaddrs
            )
        except (OSError, ValueError):
            raise spf.PermError("an address is none") from None


def printable(text: str, longest: int) -> str:
    """One line of printable ASCII: what is not becomes one space."""
    return _UNPRINTABLE.sub(" ", text[: longest * 2]).strip()[:longest].rstrip()
