"""Waiting for the DNS costs a check no more than it must, and no record costs more than it may."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest
import trio
import trio.testing

from edgerelay.dns.answer import Answer, Mx, Record, Resolver
from edgerelay.dns.caching import CachingResolver
from edgerelay.policy import Reject, SpfOutcome
from edgerelay.testing.literal_dns import Fault, LiteralResolver, Zone
from edgerelay_policies.spf import checking
from edgerelay_policies.spf.checking import Checker
from edgerelay_policies.spf.evaluation import Evaluation, Finding, Identity
from tests.policies.spf_support import mail, spf

CLIENT = ip_address("192.0.2.1")
RTT = 0.03  #: seconds


class Slow:
    """Takes its time for each question, more for some."""

    def __init__(self, zone: Zone, takes: float = RTT, **more: float) -> None:
        self.literal = LiteralResolver(zone)
        self.takes = takes
        self.more = {name.replace("_", "."): seconds for name, seconds in more.items()}

    async def resolve(self, name: str, rdtype: str) -> Answer:
        await trio.sleep(self.more.get(name, self.takes))
        return await self.literal.resolve(name, rdtype)


async def check(
    resolver: Resolver, domain: str, *, local_part: str = "joe", checker: Checker | None = None
) -> Finding:
    checker = checker or Checker(resolver, "mx.receiver.test")
    identity = Identity(local_part, domain, "mx.sender.test")
    return (await checker.check(CLIENT, [identity], 1_700_000_000))[0]


def policy(*terms: str) -> list[Record]:
    return [(" ".join(("v=spf1", *terms)).encode(),)]


THREE_INCLUDES: Zone = {
    ("example.test", "TXT"): policy("include:a.test", "include:b.test", "include:c.test", "-all"),
    ("a.test", "TXT"): policy("a:host.a.test", "-all"),
    ("b.test", "TXT"): policy("ip4:198.51.100.0/24", "-all"),
    ("c.test", "TXT"): policy("mx:c.test", "-all"),
    ("host.a.test", "A"): ["198.51.100.1"],
    ("c.test", "MX"): [Mx(10, "mx1.c.test"), Mx(20, "mx2.c.test")],
    ("mx1.c.test", "A"): ["198.51.100.2"],
    ("mx2.c.test", "A"): ["192.0.2.1"],
}


async def test_includes_are_fetched_at_the_same_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    chain = 4  # TXT example.test, TXT c.test, MX c.test, A mx2.c.test
    started = trio.current_time()
    finding = await check(CachingResolver(Slow(THREE_INCLUDES), nursery), "example.test")
    assert finding.outcome is SpfOutcome.PASS
    assert trio.current_time() - started <= 1.3 * chain * RTT


async def test_both_identities_are_evaluated_at_the_same_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    zone: Zone = {**THREE_INCLUDES, ("mx.sender.test", "TXT"): policy("a", "-all")}
    started = trio.current_time()
    said = await mail(spf(CachingResolver(Slow(zone), nursery)), "192.0.2.1", "joe@example.test")
    assert isinstance(said.verdict, Reject)  # the HELO name has no such address
    assert trio.current_time() - started <= 1.3 * 4 * RTT


async def test_what_a_match_makes_needless_is_not_asked() -> None:
    resolver = LiteralResolver(
        {("example.test", "TXT"): policy("ip4:192.0.2.0/24", "a", "include:b.test")}
    )
    assert (await check(resolver, "example.test")).outcome is SpfOutcome.PASS
    assert resolver.asked == [("example.test", "TXT")]


async def test_an_explanation_is_asked_for_only_where_there_is_something_to_explain() -> None:
    zone: Zone = {("example.test", "TXT"): policy("ip4:192.0.2.1", "-all", "exp=why.test")}
    resolver = LiteralResolver(zone)
    assert (await check(resolver, "example.test")).outcome is SpfOutcome.PASS
    assert resolver.asked == [("example.test", "TXT")]


async def test_a_guess_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    zone: Zone = {
        ("example.test", "TXT"): policy("a", "include:slow.test", "-all"),
        ("example.test", "A"): ["192.0.2.1"],
        ("slow.test", "TXT"): policy("-all"),
    }
    started = trio.current_time()
    finding = await check(Slow(zone, slow_test=4.0), "example.test")
    assert finding.outcome is SpfOutcome.PASS
    assert trio.current_time() - started < 0.3


async def test_a_guess_that_came_to_nothing_changes_no_result(
    autojump_clock: trio.testing.MockClock,
) -> None:
    zone: Zone = {
        ("example.test", "TXT"): policy("a", "include:dead.test", "-all"),
        ("example.test", "A"): ["192.0.2.1"],
        ("dead.test", "TXT"): Fault.SERVFAIL,
    }
    assert (await check(LiteralResolver(zone), "example.test")).outcome is SpfOutcome.PASS


async def test_a_slow_answer_that_is_needed_is_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    zone: Zone = {
        ("example.test", "TXT"): policy("a", "include:slow.test", "-all"),
        ("example.test", "A"): ["198.51.100.1"],
        ("slow.test", "TXT"): policy("ip4:192.0.2.1"),
    }
    finding = await check(Slow(zone, slow_test=4.0), "example.test")
    assert finding.outcome is SpfOutcome.PASS


async def test_many_slow_answers_do_not_use_up_the_runs(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    hosts = [f"h{number}" for number in range(10)]
    zone: Zone = {
        ("example.test", "TXT"): policy("mx:one.test", "mx:two.test", "-all"),
        ("one.test", "MX"): [Mx(n, f"{host}.one.test") for n, host in enumerate(hosts)],
        ("two.test", "MX"): [Mx(n, f"{host}.two.test") for n, host in enumerate(hosts)],
        **{(f"{host}.one.test", "A"): ["198.51.100.1"] for host in hosts},
        **{(f"{host}.two.test", "A"): ["192.0.2.1"] for host in hosts},
    }
    takes = {f"{host}_one_test": 0.5 * n for n, host in enumerate(hosts)}
    resolver = CachingResolver(Slow(zone, **takes), nursery)
    assert (await check(resolver, "example.test")).outcome is SpfOutcome.PASS


async def test_a_check_ends_in_time(autojump_clock: trio.testing.MockClock) -> None:
    zone: Zone = {
        (f"n{number}.test", "TXT"): policy(f"include:n{number + 1}.test") for number in range(9)
    }
    started = trio.current_time()
    finding = await check(Slow(zone, takes=4.0), "n0.test")
    assert finding.outcome is SpfOutcome.TEMPERROR
    assert trio.current_time() - started < 20


async def test_a_dead_dns_is_a_temporary_error(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    resolver = CachingResolver(LiteralResolver({("a.test", "TXT"): Fault.TIMEOUT}), nursery)
    assert await check(resolver, "a.test") == Finding(
        SpfOutcome.TEMPERROR, "no answer to a.test TXT"
    )


async def test_the_deepest_policy_that_the_rfc_allows_is_evaluated() -> None:
    # Nine includes, the last one with the tenth term: an "mx", which asks twice.
    zone: dict[tuple[str, str], list[Record]] = {
        (f"n{number}.test", "TXT"): policy(f"include:n{number + 1}.test") for number in range(9)
    }
    zone["n9.test", "TXT"] = policy("mx")
    zone["n9.test", "MX"] = [Mx(10, "mx.n9.test")]
    zone["mx.n9.test", "A"] = ["192.0.2.1"]
    resolver = LiteralResolver(zone)
    assert (await check(resolver, "n0.test")).outcome is SpfOutcome.PASS
    assert len(resolver.asked) == 12


async def test_questions_are_bounded() -> None:
    zone: dict[tuple[str, str], list[Record]] = {
        ("example.test", "TXT"): policy(*(f"mx:m{n}.test" for n in range(9)), "-all")
    }
    for n in range(9):
        zone[f"m{n}.test", "MX"] = [Mx(k, f"h{k}.m{n}.test") for k in range(10)]
        zone |= {(f"h{k}.m{n}.test", "A"): ["198.51.100.1"] for k in range(10)}
    resolver = LiteralResolver(zone)
    assert (await check(resolver, "example.test")).outcome is SpfOutcome.PERMERROR
    assert len(resolver.asked) == 60


async def test_an_error_finds_no_name_for_the_client() -> None:
    # RFC 7208 section 5.5: not a temporary error of the whole check
    zone: Zone = {
        ("dead.test", "TXT"): policy("ptr", "-all"),
        ("1.2.0.192.in-addr.arpa", "PTR"): ["dead.named.test", "host.named.test"],
        ("dead.named.test", "A"): Fault.SERVFAIL,
        ("host.named.test", "A"): ["192.0.2.1"],
        ("named.test", "TXT"): policy("ptr", "-all"),
    }
    assert (await check(LiteralResolver(zone), "named.test")).outcome is SpfOutcome.PASS
    servfail: Zone = {**zone, ("1.2.0.192.in-addr.arpa", "PTR"): Fault.SERVFAIL}
    assert (await check(LiteralResolver(servfail), "named.test")).outcome is SpfOutcome.FAIL


# -- what is remembered ----------------------------------------------------------------------


async def test_a_result_is_remembered_while_the_dns_says_the_same(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = []
    run = Evaluation.run

    def counted(evaluation: Evaluation) -> Finding | None:
        runs.append(evaluation)
        return run(evaluation)

    monkeypatch.setattr(Evaluation, "run", counted)
    resolver = CachingResolver(LiteralResolver(THREE_INCLUDES), nursery)
    checker = Checker(resolver, "mx.receiver.test")
    first = await check(resolver, "example.test", checker=checker)
    before = len(runs)
    with trio.testing.assert_no_checkpoints():
        again = await check(resolver, "example.test", local_part="ann", checker=checker)
    assert again == first
    assert len(runs) == before
    await trio.sleep(400)  # past the TTL
    assert await check(resolver, "example.test", checker=checker) == first
    assert len(runs) > before


async def test_what_depends_on_the_sender_is_not_remembered(nursery: trio.Nursery) -> None:
    zone: Zone = {
        ("example.test", "TXT"): policy("exists:%{l}.users.test", "-all"),
        ("joe.users.test", "A"): ["127.0.0.2"],
        ("why.test", "TXT"): policy("-all", "exp=text.test"),
        ("text.test", "TXT"): [(b"%{l} is unknown",)],
    }
    resolver = CachingResolver(LiteralResolver(zone), nursery)
    checker = Checker(resolver, "mx.receiver.test")
    for local_part, outcome in (("joe", SpfOutcome.PASS), ("ann", SpfOutcome.FAIL)) * 2:
        finding = await check(resolver, "example.test", local_part=local_part, checker=checker)
        assert finding.outcome is outcome
        finding = await check(resolver, "why.test", local_part=local_part, checker=checker)
        assert finding.explanation == f"{local_part} is unknown"


async def test_what_is_remembered_is_bounded(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "_REMEMBERED", 3)
    zone: Zone = {(f"n{number}.test", "TXT"): policy("-all") for number in range(9)}
    resolver = CachingResolver(LiteralResolver(zone), nursery)
    checker = Checker(resolver, "mx.receiver.test")
    for number in range(9):
        await check(resolver, f"n{number}.test", checker=checker)
    assert len(checker._memory) == 3


# -- what strangers write --------------------------------------------------------------------

COSTLY = {
    "dots beside a macro": "x{}=" + "." * 300 + "%{{d}}.example.com",
    "labels beside a macro": "x{}=%{{d}}" + ".a" * 38,
    "one long label": "x{}=x." + "a" * 380 + "!",
    "dashes": "x{}=x." + "a-" * 190 + "!",
    "macros that never end": "x{}=" + "%{{" * 190 + ".example.com",
    "reversals": "x{}=" + "%{{lr-+}}" * 50 + ".example.com",
    "digits": "a/1{}" + "1" * 380,
    "a number of 6,000 digits": "a/1{}" + "1" * 6000,
    "addresses": "ip4:10.{}.0.0/16",
    "short terms": "a",
}


@pytest.mark.parametrize("term", COSTLY.values(), ids=COSTLY)
async def test_no_record_costs_much(term: str) -> None:
    def terms(octets: int, number: int) -> str:
        count = max(1, octets // (len(term) + 1))
        return " ".join(term.format(number * 1000 + n) for n in range(count))

    chain: dict[tuple[str, str], list[Record]] = {
        (f"n{number}.test", "TXT"): policy(terms(3000, number), f"include:n{number + 1}.test")
        for number in range(9)
    }
    whole = {("n0.test", "TXT"): policy(terms(60_000, 0))}
    for zone in (chain, whole):
        started = time.process_time()
        await check(LiteralResolver(zone), "n0.test", local_part="a-b.c" * 12)
        assert time.process_time() - started < 0.5  # seconds, on a busy machine; 0.08 at most


async def test_a_thousand_checks_at_once(nursery: trio.Nursery) -> None:
    zone: Zone = {
        **THREE_INCLUDES,
        ("bad.test", "TXT"): policy("include:a.test", "-all"),
    }
    resolver = CachingResolver(LiteralResolver(zone), nursery)
    checker = Checker(resolver, "mx.receiver.test")
    found: dict[int, Finding] = {}

    async def one(number: int) -> None:
        domain = "example.test" if number % 2 else "bad.test"
        found[number] = await check(resolver, domain, checker=checker)

    async with trio.open_nursery() as checks:
        for number in range(1000):
            checks.start_soon(one, number)
    assert all(
        found[n].outcome is (SpfOutcome.PASS if n % 2 else SpfOutcome.FAIL) for n in range(1000)
    )
