"""The contract notices what it is there to notice, and lets a good policy pass."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from edgerelay.policy import Policy
from edgerelay.testing.check_policies import check_policy, it_imports_only_the_public_api
from tests.unit.testing import specimens


async def test_a_good_policy_passes(autojump_clock: MockClock) -> None:
    await check_policy(specimens.Good)


async def test_it_wants_virtual_time() -> None:
    with pytest.raises(RuntimeError, match="autojump_clock"):
        await check_policy(specimens.Good)


@pytest.mark.parametrize(
    ("policy_class", "complaint"),
    [
        (specimens.Undocumented, "no docstring"),
        (specimens.UnexplainedOption, "its option limit does"),
        (specimens.LooseOptions, "not frozen"),
        (specimens.RequiredOption, "limit has no default"),
        (
            specimens.ChokesOnNames,
            r"failed \(helo='münchen.*UnicodeEncodeError",
        ),
        (specimens.ChokesOnNull, r"mail_from=''"),
        (specimens.ChokesOnLarge, "failed"),
        (specimens.ChokesOnHeaders, "failed .empty"),
        (specimens.ChokesOnDns, "the DNS does not answer"),
        (specimens.Writes, "has_effects"),
        (specimens.Undeclared, "SpfResult"),
        (specimens.NoVerdict, "at rcpt"),
        (specimens.LeavesTasks, "tasks were left"),
        (specimens.NeverQuiteRight, "cancellation at checkpoint"),
    ],
)
async def test_what_is_wrong_is_noticed(
    policy_class: type[Policy[Any]], complaint: str, autojump_clock: MockClock
) -> None:
    with pytest.raises(AssertionError, match=complaint):
        await check_policy(policy_class)


def test_only_the_public_api_may_be_imported() -> None:
    class Private(Policy[Any]):
        """Stands in this module, which imports the test kit."""

    with pytest.raises(AssertionError, match=r"imports edgerelay\.testing"):
        it_imports_only_the_public_api(Private)
    it_imports_only_the_public_api(specimens.Good)
