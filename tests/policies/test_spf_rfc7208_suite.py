"""Every case of the RFC 7208 suite, through the resolver that production uses."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
import trio

from edgerelay.dns.caching import CachingResolver
from edgerelay.testing.literal_dns import LiteralResolver
from edgerelay_policies.spf.checking import Checker
from edgerelay_policies.spf.evaluation import Identity
from tests.policies.spf_suite import Case, cases

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_case_of_the_suite(
    case: Case, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    checker = Checker(CachingResolver(LiteralResolver(case.zone), nursery), "mx.receiver.test")
    # RFC 7208 section 4.3: no local part is "postmaster"; our grammar lets no such path in.
    local_part, at, domain = case.mail_from.rpartition("@")
    if not at:
        local_part, domain = "postmaster", case.helo
    identity = Identity(local_part or "postmaster", domain.lower(), case.helo)
    for _ in "cold", "warm":
        [finding] = await checker.check(ip_address(case.client), [identity], 1_700_000_000)
        assert finding.outcome.value in case.results
        if case.explanation not in ("", "DEFAULT"):
            assert finding.explanation == case.explanation
        elif case.explanation:
            assert finding.explanation == ""


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 203
    assert len({case.scenario for case in CASES}) == 16
