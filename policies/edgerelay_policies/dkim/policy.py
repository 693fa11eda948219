"""The policy: which signatures are verified, and what follows from the results."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

import trio

from edgerelay.policy import (
    CONTINUE,
    Answer,
    Defer,
    DkimOutcome,
    DkimResult,
    DkimSignature,
    MailTransaction,
    Message,
    Policy,
    Reject,
    Reply,
    Resolver,
    Stage,
    Verdict,
)
from edgerelay_policies.dkim.key import LEAST_BITS, MOST_BITS, key_of
from edgerelay_policies.dkim.refusal import Refused
from edgerelay_policies.dkim.signature import Signature, read_signature
from edgerelay_policies.dkim.verifying import Verifiable, Verification

Action = Literal["tag", "defer", "reject"]

#: Octets of a message above which it is verified in a thread: it would take over 5 ms.
INLINE: Final = 64 * 1024

# RFC 7372 section 3.1, and X.7.5 of RFC 3463 section 3.8 for what could not be found out.
_FAILED: Final = "No passing DKIM signature found"
_UNKNOWN: Final = "DKIM key not available, try again later"


@dataclass(frozen=True, slots=True)
class DkimOptions:
    #: What follows from each result, if no signature of the message passes.
    on_fail: Action = "tag"
    on_temperror: Action = "tag"
    on_permerror: Action = "tag"
    max_signatures: int = 5  #: of a message that are verified
    min_rsa_bits: int = LEAST_BITS  #: a key with fewer is too weak to count
    allow_unsigned_body: bool = True  #: False: one that l= leaves partly unsigned is no pass

    def __post_init__(self) -> None:
        if not 1 <= self.max_signatures <= 20:
            raise ValueError("max_signatures is a number from 1 to 20")
        if not LEAST_BITS <= self.min_rsa_bits <= MOST_BITS:
            raise ValueError(f"min_rsa_bits is a number from {LEAST_BITS} to {MOST_BITS}")


class Dkim(Policy[DkimOptions]):
    """RFC 6376: every signature is verified, and a message with a good one is never refused.

    Authentication only: whose signature it should have been is a question for others.
    """

    options_type = DkimOptions
    provides = (DkimResult,)
    provides_at = Stage.MESSAGE

    async def on_message(self, transaction: MailTransaction, message: Message) -> Verdict:
        fields = message.named("dkim-signature")
        if not fields:
            transaction.provide(DkimResult(()))
            return CONTINUE
        most = self.options.max_signatures
        now = self.services.now()
        read = [read_signature(field, now) for field in fields[:most]]
        results = await self._results(message, read)
        transaction.provide(DkimResult(results, more=max(0, len(fields) - most)))
        return self._verdict(results)

    async def _results(
        self, message: Message, read: Sequence[Signature | DkimSignature]
    ) -> tuple[DkimSignature, ...]:
        done: dict[Signature, DkimSignature] = {}
        signatures = [each for each in read if isinstance(each, Signature)]
        if reason := _from_problem(message):
            error = Refused(reason)
            done |= {each: each.refused(error) for each in signatures}
            signatures = []
        answers = await _resolve(self.services.dns, {each.key_name for each in signatures})
        wanted = []
        for signature in signatures:
            found = self._with_key(signature, answers[signature.key_name])
            if isinstance(found, Verifiable):
                wanted.append(found)
            else:
                done[signature] = found
        if wanted:
            verification = Verification(message.fields, wanted)
            done |= await self._verify(message, verification)
            for domain, escaped in verification.errors:
                self.services.log("signature not verifiable", domain=domain, error=repr(escaped))
        results = (done[each] if isinstance(each, Signature) else each for each in read)
        return tuple(map(self._judged, results))

    def _with_key(self, signature: Signature, answer: Answer) -> Verifiable | DkimSignature:
        is_testing = False
        try:
            key = key_of(answer)
            is_testing = key.is_testing
            key.check(signature, self.options.min_rsa_bits)
        except Refused as error:
            return replace(signature.refused(error), is_testing=is_testing)
        return Verifiable(signature, key)

    async def _verify(
        self, message: Message, verification: Verification
    ) -> Mapping[Signature, DkimSignature]:
        run_blocking = self.services.run_blocking
        if (body := message.body) is not None:
            if message.size <= INLINE:
                return verification.whole(body)
            return await run_blocking(partial(verification.whole, body))
        async for piece in message.chunks():
            await run_blocking(partial(verification.update, piece))
        return await run_blocking(verification.finish)

    def _judged(self, result: DkimSignature) -> DkimSignature:
        """A pass that leaves part of the body to anybody may be too little."""
        if result.unsigned and not self.options.allow_unsigned_body:
            return replace(result, outcome=DkimOutcome.POLICY, reason="body not all signed")
        return result

    def _verdict(self, results: Sequence[DkimSignature]) -> Verdict:
        """One pass is enough. Without it, what may be a pass a minute later comes first."""
        # RFC 6376 section 3.6.1: a domain that only tests (t=y) is as one that does not sign.
        outcomes = {result.outcome for result in results if not result.is_testing}
        if DkimOutcome.PASS in outcomes:
            return CONTINUE
        options = self.options
        for outcome, action in (
            (DkimOutcome.TEMPERROR, options.on_temperror),
            (DkimOutcome.FAIL, options.on_fail),
            (DkimOutcome.PERMERROR, options.on_permerror),
        ):
            if outcome in outcomes and action != "tag":
                return _refusal(action, outcome)
        return CONTINUE


def _refusal(action: Action, outcome: DkimOutcome) -> Verdict:
    if action == "reject":
        return Reject(Reply(550, "5.7.20", _FAILED))
    if outcome is DkimOutcome.TEMPERROR:
        return Defer(Reply(451, "4.7.5", _UNKNOWN))
    return Defer(Reply(451, "4.7.20", _FAILED))


def _from_problem(message: Message) -> str:
    """With two From fields, or none, nobody knows whose word is signed (RFC 6376 section 8.15)."""
    match len(message.named("from")):
        case 0:
            return "no From field"
        case 1:
            return ""
        case _:
            return "more than one From field"


async def _resolve(dns: Resolver, names: Collection[str]) -> Mapping[str, Answer]:
    """Ask for the keys of all signatures at once."""
    if len(names) == 1:  # nearly always, and a nursery costs more than a cached answer
        (name,) = names
        return {name: await dns.resolve(name, "TXT")}
    answers: dict[str, Answer] = {}

    async def ask(name: str) -> None:
        answers[name] = await dns.resolve(name, "TXT")

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(ask, name)
    return answers
