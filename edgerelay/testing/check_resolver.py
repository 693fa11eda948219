"""The contract of `Resolver`, for every form that stands for the DNS."""

from __future__ import annotations

from typing import Final

import trio

from edgerelay.dns.answer import Answer, Mx, Resolver, Status
from edgerelay.testing.literal_dns import Fault, Zone

#: What the resolver under test must see.
ZONE: Final[Zone] = {
    ("example.com", "MX"): [Mx(10, "mx1.example.com"), Mx(20, "mx2.example.com")],
    ("mx1.example.com", "A"): ["192.0.2.1", "192.0.2.2"],
    ("mx1.example.com", "AAAA"): ["2001:db8::1"],
    ("null.example", "MX"): [Mx(0, "")],
    ("text.example", "TXT"): [(b'one "quoted"', b"two"), (b"\xff\x00",)],
    ("large.example", "TXT"): [(b"%04d" % n * 60,) for n in range(40)],
    ("alias.example", "CNAME"): ["mx1.example.com"],
    ("deep.empty.example", "A"): ["192.0.2.3"],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["mx1.example.com"],
    ("100% odd.example", "A"): ["192.0.2.4"],
    ("broken.example", "A"): Fault.SERVFAIL,
}


async def check_resolver(resolver: Resolver) -> None:
    """Assert the whole contract of a resolver that sees `ZONE`."""
    for check in (
        records_come_as_plain_values,
        an_alias_is_followed,
        no_such_name_and_no_data_are_apart,
        a_failing_server_is_temporary,
        names_are_absolute_and_ignore_case,
        a_name_that_cannot_be_is_no_such_name,
        an_answer_of_any_size_arrives,
        many_ask_at_once,
    ):
        with trio.fail_after(20):
            await check(resolver)


async def _all(resolver: Resolver, name: str, rdtype: str) -> set[object]:
    answer = await resolver.resolve(name, rdtype)
    assert answer.status is Status.FOUND
    assert answer.ttl > 0
    return set(answer.records)


async def records_come_as_plain_values(resolver: Resolver) -> None:
    assert await _all(resolver, "example.com", "MX") == {
        Mx(10, "mx1.example.com"),
        Mx(20, "mx2.example.com"),
    }
    assert await _all(resolver, "null.example", "MX") == {Mx(0, "")}
    assert await _all(resolver, "mx1.example.com", "A") == {"192.0.2.1", "192.0.2.2"}
    assert await _all(resolver, "mx1.example.com", "AAAA") == {"2001:db8::1"}
    assert await _all(resolver, "text.example", "TXT") == {
        (b'one "quoted"', b"two"),
        (b"\xff\x00",),
    }
    assert await _all(resolver, "1.2.0.192.in-addr.arpa", "PTR") == {"mx1.example.com"}


async def an_alias_is_followed(resolver: Resolver) -> None:
    assert await _all(resolver, "alias.example", "A") == {"192.0.2.1", "192.0.2.2"}
    assert await _all(resolver, "alias.example", "CNAME") == {"mx1.example.com"}
    assert (await resolver.resolve("alias.example", "MX")).status is Status.NO_DATA


async def no_such_name_and_no_data_are_apart(resolver: Resolver) -> None:
    assert (await resolver.resolve("nowhere.example", "A")).status is Status.NXDOMAIN
    assert (await resolver.resolve("mx1.example.com", "MX")).status is Status.NO_DATA
    # RFC 8020 section 2: what has names below it exists.
    assert (await resolver.resolve("empty.example", "A")).status is Status.NO_DATA


async def a_failing_server_is_temporary(resolver: Resolver) -> None:
    answer = await resolver.resolve("broken.example", "A")
    assert (answer.status, answer.records) == (Status.TEMPORARY, ())


async def names_are_absolute_and_ignore_case(resolver: Resolver) -> None:
    assert await _all(resolver, "MX1.Example.COM.", "AAAA") == {"2001:db8::1"}
    # RFC 7208 section 7.2: a policy may be looked up by a name with a space in it.
    assert await _all(resolver, "100% Odd.example", "A") == {"192.0.2.4"}


async def a_name_that_cannot_be_is_no_such_name(resolver: Resolver) -> None:
    for name in ("", ".", "a..b", ".a", "a" * 64, "a." * 127 + "aa", "a\tb", "é", "a\\.b", "\0"):
        assert (await resolver.resolve(name, "A")).status is Status.NXDOMAIN, name


async def an_answer_of_any_size_arrives(resolver: Resolver) -> None:
    assert len(await _all(resolver, "large.example", "TXT")) == 40


async def many_ask_at_once(resolver: Resolver) -> None:
    answers: list[Answer] = []

    async def ask(name: str) -> None:
        answers.append(await resolver.resolve(name, "A"))

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(ask, "mx1.example.com" if number % 2 else f"n{number}.example")
    statuses = [answer.status for answer in answers]
    assert (statuses.count(Status.FOUND), statuses.count(Status.NXDOMAIN)) == (20, 20)
