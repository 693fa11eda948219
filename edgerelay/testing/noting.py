"""What becomes of questions to one policy is noted: what it said, and what it raised.

A relay contains what a policy raises, and logs a line; its author wants the traceback.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from edgerelay.pipeline import Answered, Cut, Failed, Observed
from edgerelay.policy import (
    CONTINUE,
    Connection,
    Evidence,
    MessageVerdict,
    Policy,
    Stage,
    Verdict,
)

POLICY: Final = "policy"  #: what the one policy is called
GIVEN: Final = "given"  #: and the one that publishes what the test hands in


class PolicyFailed(Exception):
    """The policy gave no answer of its own: in a relay, ``on_error`` would answer.

    What it raised is the cause. The text says what else it was: out of time, no verdict, or
    evidence that it did not declare.
    """


class Answers:
    """Keeps what becomes of one question to the one policy."""

    def __init__(self) -> None:
        self.answer: MessageVerdict | None = None
        self.error: Exception | None = None  #: what its hook raised
        self._failure: Failed | None = None
        self._stage = Stage.CONNECT

    def begin(self, stage: Stage) -> None:
        self.answer = self.error = self._failure = None
        self._stage = stage

    def note_failure(self, what: Failed | Observed) -> None:
        if isinstance(what, Failed) and what.entry.name == POLICY:
            self._failure = what

    def note_answer(self, what: Answered | Cut) -> None:
        entry = what.entry
        if isinstance(what, Answered) and (entry.name, entry.stage) == (POLICY, self._stage):
            self.answer = what.verdict

    def note_error(self, error: Exception) -> None:
        self.error = error

    def raise_failure(self) -> None:
        if (failure := self._failure) is not None:
            stage = failure.entry.stage.name.lower()
            raise PolicyFailed(f"at {stage}: {failure.reason}") from self.error


def watched(
    policy_class: type[Policy[Any]], note_error: Callable[[Exception], None]
) -> type[Policy[Any]]:
    """The same policy, but for one thing: what a hook raises is noted before it is contained."""

    def watch(hook: Callable[..., Awaitable[MessageVerdict]]) -> Any:
        async def ask(*arguments: Any) -> MessageVerdict:
            try:
                return await hook(*arguments)
            except Exception as error:
                note_error(error)
                raise

        return ask

    hooks = {
        name: watch(getattr(policy_class, name))
        for name in (f"on_{stage.name.lower()}" for stage in Stage)
        if getattr(policy_class, name) is not getattr(Policy, name)
    }
    return type(policy_class.__name__, (policy_class,), hooks)


def giver(given: Sequence[Evidence]) -> type[Policy[Any]]:
    class Given(Policy[Any]):
        """Publishes what the test has found out."""

        provides = tuple(dict.fromkeys(type(evidence) for evidence in given))

        async def on_connect(self, connection: Connection) -> Verdict:
            for evidence in given:
                connection.provide(evidence)
            return CONTINUE

    return Given
