"""check_host() of RFC 7208 section 4 with a resolver that must be waited for."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import trio

from edgerelay.policy import Answer, Resolver, SpfOutcome
from edgerelay_policies.spf.evaluation import Evaluation, Finding, Identity, Question

#: Seconds for a check. RFC 7208 section 4.6.4 wants 20 at least, which is also how long a
#: policy is waited for: a moment less, so that it ends as a result and not as a failure.
_TIME_LIMIT: Final = 19.5
#: Runs of a check. Twelve follow each other where ten terms name each other and the last one
#: is an "mx"; a name validated for a macro takes two more.
_RUNS: Final = 20
#: Questions of a check. RFC 7208 section 4.6.4 would let ten terms "mx" ask 110.
_QUESTIONS: Final = 60
#: Seconds for which answers are waited for that may not be needed, once the needed one is there.
_PATIENCE: Final = 0.2
#: Runs after which all are waited for: else many slow answers could use up the runs.
_HASTY: Final = 8

_REMEMBERED: Final = 2048  #: results
_MEMORABLE: Final = 4096  #: octets of answers behind a result that is remembered

_TEMPORARY: Final = Finding(SpfOutcome.TEMPERROR, "no result in time")
_TOO_MUCH: Final = Finding(SpfOutcome.PERMERROR, "the policy needs too many questions")
_NONE: Final = Finding(SpfOutcome.NONE)


@dataclass(frozen=True, slots=True)
class _Memory:
    used: dict[Question, Answer]
    finding: Finding


class Checker:
    """Evaluates identities, and remembers results for as long as the DNS says the same.

    ``receiver`` is our name, for the macro ``r``.
    """

    def __init__(self, resolver: Resolver, receiver: str) -> None:
        self._resolver = resolver
        self._receiver = receiver
        self._memory: OrderedDict[tuple[object, str], _Memory] = OrderedDict()

    async def check(
        self, client: IPv4Address | IPv6Address, identities: Sequence[Identity], now: int
    ) -> list[Finding]:
        """Return a finding for each, in their order; they are evaluated at the same time.

        ``now`` is in seconds since the epoch, for the macro ``t``.
        """
        findings: dict[Identity, Finding] = {}
        open_: list[tuple[Identity, dict[Question, Answer]]] = []
        for identity in dict.fromkeys(identities):
            if not can_be_asked(identity.domain):
                findings[identity] = _NONE
                continue
            finding, answers = await self._recall(client, identity.domain)
            if finding is None:
                open_.append((identity, answers))
            else:
                findings[identity] = finding

        async def evaluate(identity: Identity, answers: dict[Question, Answer]) -> None:
            findings[identity] = _TEMPORARY
            with trio.move_on_after(_TIME_LIMIT):
                findings[identity] = await self._evaluate(client, identity, answers, now)

        if len(open_) == 1:
            await evaluate(*open_[0])
        elif open_:
            async with trio.open_nursery() as nursery:
                for identity, answers in open_:
                    nursery.start_soon(evaluate, identity, answers)
        return [findings[identity] for identity in identities]

    async def _evaluate(
        self,
        client: IPv4Address | IPv6Address,
        identity: Identity,
        answers: dict[Question, Answer],
        now: int,
    ) -> Finding:
        missing: list[Question] = [(identity.domain, "TXT")]
        asked: set[Question] = set()
        for number in range(_RUNS):
            fresh = [question for question in missing if question not in asked]
            if missing[0] in fresh and len(asked) >= _QUESTIONS:
                return _TOO_MUCH
            asked.update(fresh[: _QUESTIONS - len(asked)])
            wanted = [question for question in missing if question in asked]
            await self._ask(wanted, answers, _PATIENCE if number < _HASTY else math.inf)
            run = Evaluation(client, identity, answers, receiver=self._receiver, now=now)
            finding = run.run()
            if finding is not None:
                self._remember(client, identity.domain, run, finding)
                return finding
            missing = list(dict.fromkeys(run.missing))
        return _TOO_MUCH

    async def _ask(
        self, wanted: Sequence[Question], answers: dict[Question, Answer], patience: float
    ) -> None:
        """Ask all at the same time. The first is needed; of the others nobody knows yet, and
        they get ``patience`` seconds more: the resolver keeps what comes in later."""
        if len(wanted) == 1:  # a nursery costs more than all of a check with cached answers
            answers[wanted[0]] = await self._resolver.resolve(*wanted[0])
            return

        async def ask(question: Question) -> None:
            answers[question] = await self._resolver.resolve(*question)
            if question == wanted[0]:
                nursery.cancel_scope.deadline = trio.current_time() + patience

        async with trio.open_nursery() as nursery:
            for question in wanted:
                nursery.start_soon(ask, question)

    # -- memory -------------------------------------------------------------------------------

    async def _recall(
        self, client: IPv4Address | IPv6Address, domain: str
    ) -> tuple[Finding | None, dict[Question, Answer]]:
        """Return what was found before, if each answer it rests on is still the same object,
        which is to say in the resolver's cache; and the answers read on the way.

        The first that is another one ends it, so at most one question is waited for here.
        """
        answers: dict[Question, Answer] = {}
        memory = self._memory.get((client, domain))
        if memory is None:
            return None, answers
        for question, before in memory.used.items():
            answer = answers[question] = await self._resolver.resolve(*question)
            if answer is not before:
                return None, answers
        self._memory.move_to_end((client, domain))
        return memory.finding, answers

    def _remember(
        self, client: IPv4Address | IPv6Address, domain: str, run: Evaluation, finding: Finding
    ) -> None:
        """Keep a result that follows from client, domain and answers alone: where no text that
        was read holds a macro, neither local part nor HELO nor time can have mattered."""
        self._memory.pop((client, domain), None)
        if run.is_general and sum(map(_size, run.used.values())) <= _MEMORABLE:
            self._memory[client, domain] = _Memory(run.used, finding)
            if len(self._memory) > _REMEMBERED:
                self._memory.popitem(last=False)


def can_be_asked(domain: str) -> bool:
    """RFC 7208 section 4.3: several labels, none empty or too long, and no address."""
    labels = domain.removesuffix(".").split(".")
    return (
        len(labels) > 1
        and len(domain) <= 254
        and domain.isascii()
        and not domain.startswith("[")
        and all(0 < len(label) < 64 for label in labels)
    )


def _size(answer: Answer) -> int:
    return 50 + sum(
        sum(map(len, record)) if isinstance(record, tuple) else 60 for record in answer.records
    )
