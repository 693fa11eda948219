"""The contract of a policy: what every relay may expect of one it has never seen.

It judges manners, not verdicts. A policy that passes costs its own answer at worst: never
another policy's, never the session, never the relay.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import trio

from edgerelay.dns.answer import Answer, Status
from edgerelay.policy import (
    Defer,
    DkimOutcome,
    DkimResult,
    DkimSignature,
    Evidence,
    MessageVerdict,
    Policy,
    SpfCheck,
    SpfOutcome,
    SpfResult,
)
from edgerelay.testing.cancel import cancel_during
from edgerelay.testing.hostile import FORWARD_PATHS, HELOS, MESSAGES, REVERSE_PATHS
from edgerelay.testing.literal_dns import Zone
from edgerelay.testing.noting import PolicyFailed
from edgerelay.testing.policy_harness import PolicyHarness
from edgerelay.testing.services import Address, Scanner
from edgerelay.testing.virtual_time import require_virtual_time

#: Seconds after the end of a session in which those who are not waited for must be gone.
_GRACE: Final = 10.0
#: Seconds until a deferred question is asked again.
_RETRY: Final = 3600.0
#: Evidence that is given to policies that ask for it, unless the caller gives other.
_USUAL: Final[tuple[Evidence, ...]] = (
    SpfResult((SpfCheck("mailfrom", SpfOutcome.PASS, "sender.example", "ann@sender.example"),)),
    DkimResult((DkimSignature(DkimOutcome.PASS, domain="sender.example", selector="s"),)),
)


async def check_policy(
    policy_class: type[Policy[Any]],
    *,
    options: Mapping[str, object] | None = None,
    zone: Zone | None = None,
    given: Sequence[Evidence] = (),
    scanners: Mapping[Address, Scanner] | None = None,
) -> None:
    """Assert the whole contract; the arguments are those of `PolicyHarness`.

    Raises AssertionError saying what was asked and what came of it. Evidence of the bundled
    policies need not be given. Takes no time, if time is virtual, as it must be.
    """
    require_virtual_time()
    subject = _Subject(policy_class, options or {}, zone or {}, given, scanners or {})
    it_introduces_itself(policy_class)
    its_options_are_explained(policy_class, subject.options)
    it_imports_only_the_public_api(policy_class)
    before = _tasks()
    await it_answers_every_question(subject)
    await it_answers_without_what_it_only_wants(subject)
    await it_answers_when_the_dns_is_dead(subject)
    await it_survives_being_cancelled_anywhere(subject)
    assert _tasks() <= before, f"{policy_class.__name__}: tasks were left behind"


@dataclass(frozen=True, slots=True)
class _Subject:
    policy_class: type[Policy[Any]]
    options: Mapping[str, object]
    zone: Zone
    given: Sequence[Evidence]
    scanners: Mapping[Address, Scanner]
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def name(self) -> str:
        return self.policy_class.__name__

    @property
    def evidence(self) -> list[Evidence]:
        """What was given, and the usual where it is asked for."""
        asked = {*self.policy_class.needs, *self.policy_class.wants}
        known = {type(evidence) for evidence in self.given}
        return [
            *self.given,
            *(one for one in _USUAL if type(one) in asked and type(one) not in known),
        ]

    def next_client(self) -> str:
        """An address in a network that was not seen before."""
        number = next(self._numbers)
        return f"10.{number >> 8 & 255}.{number & 255}.1"

    def harness(self, **changes: Any) -> PolicyHarness:
        arguments: dict[str, Any] = {
            "options": self.options,
            "zone": self.zone,
            "given": self.evidence,
            "scanners": self.scanners,
        }
        return PolicyHarness(self.policy_class, **{**arguments, **changes})

    @asynccontextmanager
    async def asked(self, **changes: Any) -> AsyncIterator[PolicyHarness]:
        """Open a harness, and look at what is left when all has been asked."""
        async with self.harness(**changes) as policy:
            yield policy
            policy.quit()
            await trio.sleep(_GRACE)
            assert not policy.tasks, f"{self.name}: a task outlived its session"
            assert self.policy_class.has_effects or not policy.writes, (
                f"{self.name} writes into a table, and does not say has_effects = True"
            )


def it_introduces_itself(policy_class: type[Policy[Any]]) -> None:
    assert policy_class.__dict__.get("__doc__"), f"{policy_class.__name__} has no docstring"


def its_options_are_explained(
    policy_class: type[Policy[Any]], given: Mapping[str, object]
) -> None:
    options, name = policy_class.options_type, policy_class.__name__
    assert dataclasses.is_dataclass(options), f"{name}: its options are no dataclass"
    frozen = options.__dataclass_params__.frozen  # type: ignore[attr-defined]  # typeshed lacks it
    assert frozen, f"{name}: its options are not frozen"
    for option in dataclasses.fields(options):
        must_be_given = (
            option.default is dataclasses.MISSING and option.default_factory is dataclasses.MISSING
        )
        assert not must_be_given or option.name in given, (
            f"{name}: its option {option.name} has no default and was not given"
        )
        assert _is_explained(option.name, options, policy_class), (
            f"{name}: nothing says what its option {option.name} does: a comment beside it will do"
        )


def _is_explained(name: str, options: type, policy_class: type) -> bool:
    """Named in the policy's docstring, or under or beside a comment of the options class."""
    if re.search(rf"\b{name}\b", policy_class.__doc__ or ""):
        return True
    try:
        lines = inspect.getsource(options).splitlines()
    except (OSError, TypeError):
        return True  # made by a program: there is nothing to read
    explained = False
    for line in lines:
        explained |= "#" in line or '"""' in line
        if re.match(rf"\s*{name}\s*:", line):
            return explained
    return True  # inherited: the class it comes from says it


def it_imports_only_the_public_api(policy_class: type[Policy[Any]]) -> None:
    """Of edgerelay. Followed through the modules of the policy's own distribution."""
    own = policy_class.__module__.partition(".")[0]
    seen: set[str] = set()
    ahead = [policy_class.__module__]
    while ahead:
        name = ahead.pop()
        if name in seen or name not in sys.modules:
            continue
        seen.add(name)
        for imported in _imports(name):
            if imported.partition(".")[0] == own:
                ahead += [imported, imported.rpartition(".")[0]]
            elif imported.partition(".")[0] == "edgerelay":
                public = imported.removeprefix("edgerelay.policy.")
                assert imported == "edgerelay.policy" or "." not in public, (
                    f"{name} imports {imported}: edgerelay.policy is all that is promised"
                )


def _imports(module: str) -> Iterator[str]:
    """Absolute names that a loaded module imports: ``from a import b`` gives ``a.b``."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return
    package = sys.modules[module].__package__ or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield from (f"{base}.{alias.name}" for alias in node.names)


async def it_answers_every_question(subject: _Subject) -> None:
    async with subject.asked() as policy:
        for client in ("192.0.2.1", "2001:db8::1", ""):
            await _ask(subject, policy, client=client)
        for helo in HELOS:
            await _ask(subject, policy, helo=helo)
        for mail_from in REVERSE_PATHS:
            await _ask(subject, policy, mail_from=mail_from)
        for rcpt_to in FORWARD_PATHS:
            await _ask(subject, policy, rcpt_to=rcpt_to)
        for what, message in MESSAGES.items():
            for in_memory in (True, False):
                await _ask(subject, policy, what, message=message, in_memory=in_memory)
        for facts in ({"is_trusted": True}, {"is_authenticated": True}, {"tls": "TLSv1.3 X"}):
            await _ask(subject, policy, session=facts)


async def it_answers_without_what_it_only_wants(subject: _Subject) -> None:
    needed = [one for one in subject.evidence if type(one) in subject.policy_class.needs]
    async with subject.asked(given=needed) as policy:
        await _ask(subject, policy, "evidence that it wants is missing")


class _DeadDns:
    async def resolve(self, name: str, rdtype: str) -> Answer:
        await trio.sleep(1)
        return Answer(Status.TEMPORARY)


async def it_answers_when_the_dns_is_dead(subject: _Subject) -> None:
    async with subject.asked(resolver=_DeadDns()) as policy:
        await _ask(subject, policy, "the DNS does not answer")


async def it_survives_being_cancelled_anywhere(subject: _Subject) -> None:
    """At each checkpoint in turn, as when the client hangs up; then it still answers."""
    async with subject.asked() as policy:
        for number in count(1):

            async def ask() -> None:
                await _ask(subject, policy, client=subject.next_client())

            was_cancelled = await cancel_during(number, ask)
            policy.quit()
            await _ask(subject, policy, f"after a cancellation at checkpoint {number}")
            if not was_cancelled:
                return


async def _ask(
    subject: _Subject, policy: PolicyHarness, what: str = "", **question: Any
) -> MessageVerdict:
    """Ask, and once more after a while if it was deferred: a sender's queue comes back."""
    asked = what or ", ".join(f"{key}={value!r}" for key, value in question.items())
    try:
        verdict = await policy.ask(**question)
        if isinstance(verdict, Defer):
            policy.quit()
            await trio.sleep(_RETRY)
            verdict = await policy.ask(**question)
        return verdict
    except PolicyFailed as error:
        raise AssertionError(f"{subject.name} failed ({asked}): {error}") from error


def _tasks() -> int:
    """Tasks of the whole run, wherever they were started."""
    root = trio.lowlevel.current_root_task()
    ahead, number = [root] if root else [], 0
    while ahead:
        task = ahead.pop()
        number += 1
        ahead += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return number
