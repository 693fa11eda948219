"""Policies are opened in order and closed in the reverse one; some enforce for a share."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from types import TracebackType
from typing import Any, Self, cast

import pytest
import trio
from trio.testing import MockClock

from edgerelay.observe.events import Event, PolicyFailed
from edgerelay.pipeline import policies as module
from edgerelay.pipeline.policies import NO_POLICIES, NotOpened, open_policies
from edgerelay.pipeline.settings import Mode, PolicySettings
from edgerelay.policy import CONTINUE, Evidence, Policy, Services, Stage, Verdict

CLIENT = ip_address("192.0.2.7")


@dataclass(frozen=True, slots=True)
class Options:
    name: str = "x"


class Sample(Policy[Options]):
    """Notes what happens to it."""

    options_type = Options
    story: list[str] = []  # noqa: RUF012  the tests'

    async def __aenter__(self) -> Self:
        self.story.append(f"open {self.options.name}")
        if self.options.name == "bad":
            raise OSError("no socket")
        if self.options.name == "late":
            await trio.sleep(19)
        if self.options.name == "slow":
            await trio.sleep(3600)
        if self.options.name == "stubborn":
            with suppress(trio.Cancelled):
                await trio.sleep(3600)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.story.append(f"close {self.options.name}")

    async def on_mail(self, *_: object) -> Verdict:
        return CONTINUE


class Restless(Sample):
    async def run(self) -> None:
        self.story.append(f"run at {trio.current_time():g}")
        await trio.sleep(0.5)
        raise OSError("lost the\nserver")


class Brief(Sample):
    async def run(self) -> None:
        self.story.append("run")


class Nursing(Sample):
    async def __aenter__(self) -> Self:
        self._manager = trio.open_nursery()
        nursery = await self._manager.__aenter__()
        nursery.start_soon(trio.sleep_forever)
        self._nursery = nursery
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(*error)


class Missing(Evidence):
    __slots__ = ()


class Needy(Sample):
    needs = (Missing,)


KINDS = {
    "sample": Sample,
    "restless": Restless,
    "brief": Brief,
    "nursing": Nursing,
    "needy": Needy,
}
NOTHING = cast("Services", None)


@pytest.fixture(autouse=True)
def story(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(module, "policy_class", KINDS.__getitem__)
    Sample.story = []
    return Sample.story


def settings(name: str, use: str = "sample", **more: Any) -> PolicySettings:
    return PolicySettings(use, name, options={"name": name}, **more)


def opening(*tables: PolicySettings, events: list[Event] | None = None) -> Any:
    observer = (lambda _: None) if events is None else events.append
    return open_policies(tables, lambda _: NOTHING, observer)


async def test_they_are_closed_in_the_reverse_order(story: list[str]) -> None:
    tables = [settings("a"), settings("b"), settings("c", mode=Mode.OFF)]
    async with opening(*tables) as policies:
        assert [e.name for e in policies.plan_for(CLIENT).entries[Stage.MAIL]] == ["a", "b"]
        story.append("work")
    assert story == ["open a", "open b", "work", "close b", "close a"]


async def test_one_that_cannot_be_opened_closes_those_before_it(story: list[str]) -> None:
    with pytest.raises(NotOpened, match="bad: OSError: no socket") as caught:
        async with opening(settings("a"), settings("bad")):
            raise AssertionError
    assert story == ["open a", "open bad", "close a"]
    assert (caught.value.policy, caught.value.reason) == ("bad", "OSError: no socket")


@pytest.mark.parametrize(
    ("name", "closed"), [("slow", ["close a"]), ("stubborn", ["close stubborn", "close a"])]
)
async def test_one_that_does_not_open_in_time_is_named_and_those_before_it_close(
    autojump_clock: MockClock, story: list[str], name: str, closed: list[str]
) -> None:
    with pytest.raises(NotOpened) as caught:
        async with opening(settings("a"), settings(name), settings("b")):
            raise AssertionError
    assert caught.value.policy == name
    assert caught.value.reason == "did not open within 20 s"
    assert story == ["open a", f"open {name}", *closed]


async def test_who_is_open_in_time_stays_open(autojump_clock: MockClock, story: list[str]) -> None:
    async with opening(settings("a"), settings("late")):
        await trio.sleep(100)
        story.append("work")
    assert story == ["open a", "open late", "work", "close late", "close a"]


async def test_a_policy_may_open_a_nursery_of_its_own(autojump_clock: MockClock) -> None:
    async with opening(settings("a"), settings("n", "nursing"), settings("b")):
        await trio.sleep(100)


async def test_policies_that_cannot_work_together_are_not_opened(story: list[str]) -> None:
    with pytest.raises(NotOpened, match="a: a needs Missing: no policy gives it"):
        async with opening(settings("a", "needy")):
            raise AssertionError


async def test_one_with_options_that_cannot_be_is_named() -> None:
    broken = PolicySettings("sample", "a", options={"colour": 1})
    with pytest.raises(NotOpened, match="a: ValidationError"):
        async with opening(broken):
            raise AssertionError


async def test_a_background_task_that_dies_starts_again_ever_later(
    autojump_clock: MockClock, story: list[str]
) -> None:
    events: list[Event] = []
    async with opening(settings("a", "restless"), events=events):
        await trio.sleep(16)
    assert story[1:-1] == ["run at 0", "run at 1.5", "run at 4", "run at 8.5"]
    failed = [event for event in events if isinstance(event, PolicyFailed)]
    assert {(e.policy, e.stage, e.reason) for e in failed} == {
        ("a", "background", "OSError: lost the\\nserver")
    }


async def test_one_that_returns_is_done(autojump_clock: MockClock, story: list[str]) -> None:
    async with opening(settings("a", "brief")):
        await trio.sleep(100)
    assert story == ["open a", "run", "close a"]


async def test_a_share_of_clients_is_enforced_the_others_are_observed() -> None:
    async with opening(settings("a", enforce_share=0.3), settings("b")) as policies:

        def enforced(client: IPv4Address) -> bool:
            first, second = policies.plan_for(client).entries[Stage.MAIL]
            assert not second.observed
            return not first.observed

        clients = [IPv4Address(number << 8 | 7) for number in range(2000)]
        share = sum(map(enforced, clients)) / len(clients)
        assert 0.25 < share < 0.35
        assert all(enforced(c) == enforced(c + 1) for c in clients[:100])  # a network is one
        assert policies.plan_for(clients[0]) is policies.plan_for(clients[0])


@pytest.mark.parametrize(("share", "all_of_them"), [(0.0, False), (1.0, True)])
async def test_none_and_all(share: float, all_of_them: bool) -> None:
    async with opening(settings("a", enforce_share=share)) as policies:
        for client in (CLIENT, ip_address("2001:db8::1"), None):
            (entry,) = policies.plan_for(client).entries[Stage.MAIL]
            assert entry.observed is not all_of_them


async def test_without_any_there_is_nothing_to_ask() -> None:
    assert NO_POLICIES.is_empty
    async with opening(settings("a", mode=Mode.OFF)) as policies:
        assert policies.is_empty


class Effectful(Sample):
    has_effects = True


async def test_clients_of_a_trial_share_no_table_with_those_it_is_enforced_for(
    story: list[str],
) -> None:
    lent: list[Mode] = []

    def services(settings: PolicySettings) -> Services:
        lent.append(settings.mode)
        return NOTHING

    KINDS["effectful"] = Effectful
    tables = [settings("a", "effectful", enforce_share=0.5)]
    async with open_policies(tables, services, lambda _: None) as policies:
        asked = {
            entry.observed: entry.hook.__self__  # type: ignore[attr-defined]  # a bound method
            for number in range(100)
            for entry in policies.plan_for(IPv4Address(number << 8)).entries[Stage.MAIL]
        }
    assert lent == [Mode.ENFORCE, Mode.OBSERVE]
    assert asked[True] is not asked[False]
    assert story == ["open a", "open a", "close a", "close a"]


async def test_one_that_is_off_is_not_even_made(story: list[str]) -> None:
    def services(_: PolicySettings) -> Services:
        raise AssertionError

    async with open_policies([settings("a", mode=Mode.OFF)], services, lambda _: None) as policies:
        assert policies.is_empty
