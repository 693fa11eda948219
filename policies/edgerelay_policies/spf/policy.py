"""The policy: which identities are checked, and what follows from a result."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from edgerelay.policy import (
    CONTINUE,
    Defer,
    Mailbox,
    MailTransaction,
    Policy,
    Reject,
    Reply,
    Services,
    SpfCheck,
    SpfOutcome,
    SpfResult,
    Stage,
    Verdict,
)
from edgerelay_policies.spf.checking import Checker
from edgerelay_policies.spf.evaluation import Finding, Identity, printable

Action = Literal["tag", "defer", "reject"]

#: X.7.23 failed, X.7.24 could not be evaluated (RFC 7372 section 3.2).
_FAILED: Final = (SpfOutcome.FAIL, SpfOutcome.SOFTFAIL)
#: Characters of a domain in a reply, whose line has 512 octets (RFC 5321 section 4.5.3.1.5).
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class SpfOptions:
    check_helo: bool = True  #: ask of the HELO name, too (RFC 7208 section 2.3)
    #: What follows from each result; of the HELO name only a fail counts.
    on_fail: Action = "reject"
    on_softfail: Action = "tag"
    on_temperror: Action = "defer"
    on_permerror: Action = "tag"
    skip_trusted: bool = True  #: who may relay here speaks for domains that do not name it


class Spf(Policy[SpfOptions]):
    """RFC 7208: a fail is refused, any other result is what others may build on."""

    options_type = SpfOptions
    provides = (SpfResult,)
    provides_at = Stage.MAIL

    def __init__(self, options: SpfOptions, services: Services) -> None:
        super().__init__(options, services)
        self._checker = Checker(services.dns, services.hostname)

    async def on_mail(self, transaction: MailTransaction) -> Verdict:
        session = transaction.session
        client = session.client
        trusted = session.is_trusted or session.is_authenticated
        if client is None or (trusted and self.options.skip_trusted):
            transaction.provide(SpfResult(()))
            return CONTINUE
        if isinstance(client, IPv6Address) and client.ipv4_mapped is not None:
            client = client.ipv4_mapped
        asked = self._identities(transaction)
        findings = await self._checker.check(
            client, [identity for _, identity, _ in asked], int(self.services.now())
        )
        checks = [
            (SpfCheck(kind, found.outcome, identity.domain, text, found.reason), found)
            for (kind, identity, text), found in zip(asked, findings, strict=True)
        ]
        transaction.provide(SpfResult(tuple(check for check, _ in checks)))
        for check, finding in checks:
            verdict = self._verdict(check, finding, client)
            if verdict is not CONTINUE:
                return verdict
        return CONTINUE

    def _identities(
        self, transaction: MailTransaction
    ) -> list[tuple[Literal["helo", "mailfrom"], Identity, str]]:
        """What is checked, HELO first (RFC 7208 section 2.3), each with the text that shows it.

        A null reverse-path stands for postmaster of the HELO domain (section 2.4).
        """
        session, mailbox = transaction.session, transaction.envelope.reverse_path.mailbox
        host = Mailbox("postmaster", session.helo)
        by_name = Identity(host.local_part, host.domain_key, session.helo)
        asked: list[tuple[Literal["helo", "mailfrom"], Identity, str]] = []
        if self.options.check_helo:
            asked.append(("helo", by_name, session.helo))
        if mailbox is None:
            asked.append(("mailfrom", by_name, str(host)))
        else:
            sender = Identity(mailbox.local_part, mailbox.domain_key, session.helo)
            asked.append(("mailfrom", sender, str(mailbox)))
        return asked

    def _verdict(
        self, check: SpfCheck, finding: Finding, client: IPv4Address | IPv6Address
    ) -> Verdict:
        """Of a HELO name only a fail counts: it says that the name is forged, whereas the
        other results say that somebody's host is not well described."""
        outcome = check.outcome
        if check.identity == "helo" and outcome is not SpfOutcome.FAIL:
            return CONTINUE
        match outcome:
            case SpfOutcome.FAIL:
                action = self.options.on_fail
            case SpfOutcome.SOFTFAIL:
                action = self.options.on_softfail
            case SpfOutcome.TEMPERROR:
                action = self.options.on_temperror
            case SpfOutcome.PERMERROR:
                action = self.options.on_permerror
            case _:
                return CONTINUE
        if action == "tag":
            return CONTINUE
        text = _text(check, finding, client)
        detail = "7.23" if outcome in _FAILED else "7.24"
        if action == "defer":
            return Defer(Reply(451, f"4.{detail}", text))
        return Reject(Reply(550, f"5.{detail}", text))


def _text(check: SpfCheck, finding: Finding, client: IPv4Address | IPv6Address) -> str:
    """What the client reads: one line of printable ASCII, of which the domain's owner may have
    written a part (RFC 7208 section 6.2)."""
    whose = printable(check.domain, _SHOWN)
    which = "HELO" if check.identity == "helo" else "MAIL FROM"
    match check.outcome:
        case SpfOutcome.FAIL | SpfOutcome.SOFTFAIL:
            text = f"SPF check of {which} failed: {client} may not send for {whose}"
        case SpfOutcome.TEMPERROR:
            text = f"SPF check of {which}: the DNS did not answer for {whose}"
        case _:
            text = f"SPF check of {which}: the policy of {whose} is not valid"
    return f"{text}; it explains: {finding.explanation}" if finding.explanation else text
