"""Each policy's words are counted, and whether an observer would have agreed."""

from __future__ import annotations

from typing import Any, cast

from edgerelay.pipeline.counts import KINDS, PolicyCounts
from edgerelay.pipeline.plan import Configured, Plan
from edgerelay.pipeline.records import Failed, Observed
from edgerelay.policy import ACCEPT, CONTINUE, Hold, Policy, Stage, Verdict


async def hook(*_: object) -> Verdict:
    return CONTINUE


KIND = cast("type[Policy[Any]]", type("P", (Policy,), {"on_mail": hook}))
ENTRY = Plan([Configured("p", KIND, None)]).entries[Stage.MAIL][0]


def test_what_was_said_is_counted_by_kind() -> None:
    counts = PolicyCounts()
    counts.decided(ENTRY, ACCEPT)
    counts.decided(ENTRY, Hold("odd"))
    counts.decided(ENTRY, Hold("odd"))
    counts.record(Failed(ENTRY, "timeout"))
    counts.record(Observed(ENTRY, CONTINUE, agrees=True))
    counts.record(Observed(ENTRY, CONTINUE, agrees=False))
    counts.record(Observed(ENTRY, None, agrees=None))
    found = counts.by_policy()["p"]
    assert found == {"accept": 1, "hold": 2, "failed": 1, "agree": 1, "disagree": 1}
    assert set(found) <= set(KINDS)
