"""Whatever is installed as a policy has manners: ours, and a third party's if it is there."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from edgerelay.pipeline.loading import installed, policy_class
from edgerelay.testing import Zone, check_policy

#: Enough for each to come to a verdict of its own about `PolicyHarness`'s usual client.
ZONE: Zone = {
    ("sender.example", "TXT"): [(b"v=spf1 ip4:192.0.2.1 a mx include:more.example ~all",)],
    ("sender.example", "A"): ["192.0.2.7"],
    ("more.example", "TXT"): [(b"v=spf1 ip4:198.51.100.0/24 ?all",)],
}
#: Of policies that cannot do without.
OPTIONS: dict[str, dict[str, object]] = {
    "quiet-hours": {"mailboxes": ["bob@example.com"]},
}


def test_the_bundled_policies_are_installed() -> None:
    assert {"access", "dkim", "greylisting", "spf"} <= set(installed())


@pytest.mark.parametrize("use", sorted(installed()))
async def test_a_policy_conforms(use: str, autojump_clock: MockClock) -> None:
    await check_policy(policy_class(use), options=OPTIONS.get(use), zone=ZONE)
