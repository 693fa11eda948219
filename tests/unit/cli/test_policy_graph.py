"""The policies as they will be asked, and what is odd about a configuration that works."""

from __future__ import annotations

import pytest

from edgerelay.cli.findings import Finding, Grade, policy_findings
from edgerelay.cli.policy_graph import Member, StageGraph, graph, idle, unusual
from edgerelay.config import Config, parse

ROUTE = 'workers = 1\n[[route]]\ndomains = ["example.com"]\nnext_hop = ["mx"]\n'

pytestmark = pytest.mark.usefixtures("kitchen")


def config(*policies: str, also: str = "") -> Config:
    """Each policy is its name, then further keys a line each."""
    tables = []
    for policy in policies:
        name, *keys = policy.split("\n")
        tables.append("\n".join(["[[policy]]", f'use = "{name}"', *keys, ""]))
    return parse(f"{ROUTE}{''.join(tables)}{also}".encode(), "e.toml")


def oddities(*policies: str, also: str = "") -> list[tuple[str, str]]:
    return list(unusual(config(*policies, also=also)))


def test_each_stage_has_its_policies_in_order_with_what_they_wait_for() -> None:
    found = graph(config('painter\ntimeout = "3s"', 'gourmet\nmode = "observe"', "keeper"))
    assert found == [
        StageGraph("mail", 3, (Member("painter", "enforce", 3, ("Colour",), (), (), False),)),
        StageGraph(
            "rcpt",
            20,
            (
                Member("gourmet", "observe", 20, (), ("Colour",), (), False),
                Member("keeper", "enforce", 20, (), (), ("Colour",), True),
            ),
        ),
    ]


def test_a_member_is_told_in_words() -> None:
    member = Member("m", "observe", 1, ("A",), ("B", "C"), ("D",), True)
    assert member.text == "m (observe, gives A, needs B and C, uses D, has effects)"
    assert Member("m", "enforce", 1, (), (), (), False).text == "m"


def test_the_message_stage_takes_no_longer_than_all_may_together() -> None:
    also = '[limits]\ndecision_timeout = "7s"\n'
    (stage,) = graph(config("labeller", "raiser", also=also))
    assert (stage.stage, stage.worst_case) == ("message", 7)


def test_those_that_are_off_are_named_apart() -> None:
    found = config("raiser", 'painter\nmode = "off"')
    assert [stage.stage for stage in graph(found)] == ["message"]
    assert idle(found) == ["painter"]


def test_a_usual_configuration_has_nothing_odd() -> None:
    assert oddities("painter", "gourmet", "keeper", "labeller") == []
    assert oddities() == []


def test_records_kept_of_what_is_refused_afterwards_are_odd() -> None:
    assert oddities("painter", "keeper", "gourmet") == [
        ("policy keeper", "it stands before gourmet: it keeps even what is refused there")
    ]
    assert oddities("painter", 'keeper\nmode = "observe"', "gourmet") == []


def test_who_stands_before_what_he_waits_for_is_odd() -> None:
    assert oddities("keeper", "painter") == [
        ("policy keeper", "it stands before painter, whose Colour it uses")
    ]


def test_evidence_that_would_be_used_and_is_not_there_is_odd() -> None:
    assert oddities("keeper", 'painter\nmode = "off"') == [
        ("policy painter", "it is off, and keeper would use its Colour")
    ]
    assert oddities("keeper") == []  # it can do without


def test_a_share_of_nothing_is_odd() -> None:
    assert oddities('painter\nmode = "observe"\nenforce_share = 0.1') == [
        ("policy painter", "enforce_share does nothing in observe mode")
    ]


def test_tables_that_workers_do_not_share_are_odd_if_somebody_keeps_something() -> None:
    several = '[tables]\nbackend = "memory"\n'
    text = ROUTE.replace("workers = 1", "workers = 2") + several
    kept = '[[policy]]\nuse = "painter"\n[[policy]]\nuse = "keeper"\n'
    found = dict(unusual(parse(f"{text}{kept}".encode(), "e.toml")))
    assert found == {
        "tables.backend": "each worker keeps its own: one does not know what another told keeper"
    }
    assert not dict(unusual(parse(text.encode(), "e.toml")))


def test_more_time_than_a_client_has_is_odd() -> None:
    assert oddities(
        'painter\ntimeout = "4m"',
        'gourmet\ntimeout = "61s"',
        also='[limits]\ndecision_timeout = "11m"\n',
    ) == [
        ("policies", "they may take 301 s up to RCPT; clients give up after 300 s"),
        ("limits.decision_timeout", "clients wait 600 s for the reply to the final dot"),
    ]


def test_check_shows_all_of_it() -> None:
    found = list(policy_findings(config("keeper", "painter", 'raiser\nmode = "off"')))
    assert found == [
        Finding(Grade.GOOD, "policies at mail", "painter (gives Colour); at most 20 s"),
        Finding(Grade.GOOD, "policies at rcpt", "keeper (uses Colour, has effects); at most 20 s"),
        Finding(Grade.GOOD, "policies off", "raiser"),
        Finding(
            Grade.WARNING,
            "policy keeper",
            "it stands before painter, whose Colour it uses",
        ),
    ]
