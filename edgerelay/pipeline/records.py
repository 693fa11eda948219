"""What the pipeline tells of an asking, besides its outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from edgerelay.pipeline.plan import Entry
from edgerelay.policy import Evidence, ForwardPath, MessageVerdict


@dataclass(frozen=True, slots=True)
class Failed:
    """A policy gave no answer of its own; its ``on_error`` answered."""

    entry: Entry
    reason: str  #: for the operator: hostile text may be in it


@dataclass(frozen=True, slots=True)
class Observed:
    """What a policy in observe mode would have said; None if it was cut off.

    ``agrees``: enforcing it would not have changed what became of its own stage.
    """

    entry: Entry
    verdict: MessageVerdict | None
    agrees: bool | None


@dataclass(frozen=True, slots=True)
class Answered:
    """Traces only: a policy's answer, after so many seconds, and what it published."""

    entry: Entry
    verdict: MessageVerdict
    seconds: float
    evidence: tuple[Evidence, ...]
    about: tuple[ForwardPath, ...] = ()  #: whom it was asked about; (): whoever comes


@dataclass(frozen=True, slots=True)
class Cut:
    """Traces only: a policy was cancelled after so many seconds, its answer not needed."""

    entry: Entry
    seconds: float
    about: tuple[ForwardPath, ...] = ()


Record: TypeAlias = Callable[[Failed | Observed], None]
Trace: TypeAlias = Callable[[Answered | Cut], None]
