"""Cases that other verifiers are held to (data/dkim/LICENSES.md)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from edgerelay.testing.literal_dns import Zone
from tests.policies.dkim_support import ask

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data/dkim/dkim_static.json").read_text()
)
#: When the sources' x= had not passed yet: 2022-11-07.
THEN = 1_667_843_664.0

#: Where we say something else, and the sentence that says so.
CONTESTED = {
    # The case wants "fail". Its zone has no such selector. RFC 6376 section 6.1.2: "If the query
    # for the public key fails because the corresponding key record does not exist, the Verifier
    # MUST immediately return PERMFAIL (no key for signature)". RFC 8601 section 2.7.1 keeps
    # "fail" for signatures that "failed the verification test(s)": none was made.
    "opendkim-t-verify-revoked": ["permerror"],
}


def zone_of_case(case: dict[str, Any]) -> Zone:
    zone: dict[tuple[str, str], list[Any]] = {}
    for name, records in case["zone"].items():
        for rdtype, value in records:
            strings = [value] if isinstance(value, str) else value
            zone.setdefault((name, rdtype), []).append(tuple(s.encode() for s in strings))
    return zone


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "file"])
async def test_a_case_has_its_outcome(case: dict[str, Any], in_memory: bool) -> None:
    message = base64.b64decode(case["message"])
    said = await ask(message, zone_of_case(case), now=THEN, in_memory=in_memory)
    outcomes = [each.result for each in said.result.authentication_results]
    match CONTESTED.get(case["id"], case["expect"]["dkim"]):
        case None:
            pass  # no more is asked than that nothing is raised
        case {"contains": wanted}:
            assert wanted in outcomes
        case expected:
            assert len(outcomes) == len(expected)
            for outcome, allowed in zip(outcomes, expected, strict=True):
                assert outcome in ([allowed] if isinstance(allowed, str) else allowed)


def test_no_more_than_two_are_contested() -> None:
    assert CONTESTED.keys() <= {case["id"] for case in CASES}
    assert len(CONTESTED) <= 2
