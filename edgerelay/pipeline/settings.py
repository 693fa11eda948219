"""One ``[[policy]]`` table as plain values: they travel to a worker before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Mode(Enum):
    ENFORCE = "enforce"
    OBSERVE = "observe"  #: asked and counted, its verdict has no effect
    OFF = "off"


class OnError(Enum):
    """What stands in for the answer of a policy that gave none."""

    DEFER = "defer"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class PolicySettings:
    use: str  #: an entry point of the group ``edgerelay.policies``
    name: str  #: unique: ``use``, or "access-2" for the second table that uses "access"
    mode: Mode = Mode.ENFORCE
    timeout: float = 20.0  #: seconds for each answer
    on_error: OnError = OnError.DEFER
    enforce_share: float = 1.0  #: of clients, stable by network; the others are observed
    options: Mapping[str, object] = field(default_factory=dict)  #: the policy's own, as written
