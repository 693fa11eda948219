"""The policies of a worker: opened in the order of configuration, closed in the reverse one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

import trio

from edgerelay.census import known
from edgerelay.observe.escape import escape
from edgerelay.observe.events import Observer, PolicyFailed
from edgerelay.pipeline.counts import PolicyCounts
from edgerelay.pipeline.loading import LoadError, policy_class, read_options
from edgerelay.pipeline.plan import Configured, Plan, PlanError
from edgerelay.pipeline.settings import Mode, PolicySettings
from edgerelay.pipeline.watchdog import Watchdog
from edgerelay.policy import Policy, Services

#: Seconds before a background task that died is started again: the first time, and at most.
_BACK_OFF: Final = (1.0, 60.0)
#: Seconds in which all policies together must have opened: less than the silence after which
#: a supervisor ends its worker, so that the worker can say whose fault it is.
OPEN_WITHIN: Final = 20.0
#: Bits of a client's address that `enforce_share` goes by: a host that moves stays the same.
_PREFIX: Final = {4: 24, 6: 48}

Address = IPv4Address | IPv6Address


class NotOpened(Exception):
    """A policy could not be opened, so there is no pipeline. The text is for the operator."""

    def __init__(self, policy: str, reason: str) -> None:
        super().__init__(f"{policy}: {reason}")
        self.policy, self.reason = policy, reason


@dataclass(frozen=True, slots=True)
class Opened:
    settings: PolicySettings
    kind: type[Policy[Any]]
    policy: Policy[Any] | None  #: None: it is off
    #: Asked in its place where a share of clients is enforced and this one is not of it: with
    #: tables of its own, so that a trial leaves no traces.
    trial: Policy[Any] | None = None

    def asked_in(self, mode: Mode) -> Policy[Any] | None:
        return self.trial if mode is Mode.OBSERVE and self.trial else self.policy


class Policies:
    """What sessions are given: whom to ask of which client."""

    def __init__(self, opened: Sequence[Opened], watchdog: Watchdog) -> None:
        self._opened = opened
        self.watchdog = watchdog
        self.counts = PolicyCounts()
        self._plan = lru_cache(maxsize=256)(self._make_plan)
        self._modes = tuple(each.settings.mode for each in opened)
        self._shares = [
            (index, each.settings.name, each.settings.enforce_share)
            for index, each in enumerate(opened)
            if each.settings.mode is Mode.ENFORCE and each.settings.enforce_share < 1
        ]
        self.is_empty = self._plan(self._modes).is_empty

    def plan_for(self, client: Address | None) -> Plan:
        """The plan for a client: a policy that enforces for a share observes the others."""
        if not self._shares:
            return self._plan(self._modes)
        modes = list(self._modes)
        for index, name, share in self._shares:
            if _lot(name, client) >= share:
                modes[index] = Mode.OBSERVE
        return self._plan(tuple(modes))

    def _make_plan(self, modes: tuple[Mode, ...]) -> Plan:
        return Plan(
            [
                Configured(
                    each.settings.name,
                    each.kind,
                    each.asked_in(mode),
                    mode,
                    each.settings.timeout,
                    each.settings.on_error,
                )
                for each, mode in zip(self._opened, modes, strict=True)
            ]
        )


NO_POLICIES: Final = Policies((), Watchdog())


@asynccontextmanager
async def open_policies(
    settings: Sequence[PolicySettings],
    services_for: Callable[[PolicySettings], Services],
    observer: Observer,
) -> AsyncIterator[Policies]:
    """Load the policies, open those that are not off, and run what they do in the background.

    Raises `NotOpened` before it yields.
    """
    opening = ""
    async with AsyncExitStack() as stack:
        # Around all that is opened, not around each: a nursery that a policy opens stays open.
        limit = trio.current_time() + OPEN_WITHIN
        patience = stack.enter_context(trio.CancelScope(deadline=limit))
        opened = []
        ours = list(trio.lowlevel.current_task().child_nurseries)
        for each in settings:
            opening = each.name
            opened.append(await _open(each, services_for, stack))
            await trio.lowlevel.checkpoint_if_cancelled()  # it may have swallowed our impatience
        for nursery in trio.lowlevel.current_task().child_nurseries:
            if nursery not in ours:
                known(nursery, "services")  # a policy's own, which ends with it
        patience.deadline = math.inf
        watchdog = Watchdog()
        try:
            policies = Policies(opened, watchdog)
        except PlanError as error:
            raise NotOpened(error.policy, str(error)) from error
        if policies.is_empty:
            yield policies
            return
        async with trio.open_nursery() as background:
            known(background, "services").start_soon(watchdog.run)
            for one in opened:
                for policy in (one.policy, one.trial):
                    if policy is not None and one.kind.run is not Policy.run:
                        background.start_soon(_keep_running, one.settings.name, policy, observer)
            yield policies
            background.cancel_scope.cancel()
    if patience.cancelled_caught:
        raise NotOpened(opening, f"did not open within {OPEN_WITHIN:g} s")


async def _open(
    settings: PolicySettings,
    services_for: Callable[[PolicySettings], Services],
    stack: AsyncExitStack,
) -> Opened:
    try:
        kind = policy_class(settings.use)
        if settings.mode is Mode.OFF:
            return Opened(settings, kind, None)
        options = read_options(kind, settings.options)
        policy = kind(options, services_for(settings))
        await stack.enter_async_context(policy)
        trial = None
        if kind.has_effects and settings.mode is Mode.ENFORCE and settings.enforce_share < 1:
            trial = kind(options, services_for(replace(settings, mode=Mode.OBSERVE)))
            await stack.enter_async_context(trial)
    except LoadError as error:
        raise NotOpened(settings.name, escape(str(error), 500)) from error
    except Exception as error:  # what somebody else wrote, whatever it raises
        reason = escape(f"{type(error).__name__}: {error}", 500)
        raise NotOpened(settings.name, reason) from error
    return Opened(settings, kind, policy, trial)


async def _keep_running(name: str, policy: Policy[Any], observer: Observer) -> None:
    """Run a background task until it returns; one that dies starts again after a while."""
    wait, longest = _BACK_OFF
    while True:
        started = trio.current_time()
        try:
            await policy.run()
        except Exception as error:  # what somebody else wrote must not end the worker
            reason = escape(f"{type(error).__name__}: {error}", 500)
            observer(PolicyFailed(policy=name, stage="background", reason=reason))
        else:
            return
        if trio.current_time() - started > longest:
            wait = _BACK_OFF[0]
        await trio.sleep(wait)
        wait = min(2 * wait, longest)


@lru_cache(maxsize=4096)
def _lot(name: str, client: Address | None) -> float:
    """A number from 0 to 1 that stays the same for a network and a policy."""
    network = b""
    if client is not None:
        network = client.packed[: _PREFIX[client.version] // 8]
    digest = hashlib.sha256(name.encode() + b"\0" + network).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
