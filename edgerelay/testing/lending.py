"""What a relay under test lends its policies: the real thing, without network and threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import trio

from edgerelay.observe.events import Observer
from edgerelay.pipeline.services import RelayServices
from edgerelay.pipeline.settings import Mode, PolicySettings
from edgerelay.policy import Resolver, Services
from edgerelay.runtime import Clock, inline
from edgerelay.tables.api import Tables
from edgerelay.testing.services import Address, Scanner, connect_to


@dataclass(frozen=True, slots=True)
class Lending:
    hostname: str
    resolver: Resolver
    tables: Tables
    now: Clock
    observer: Observer
    nursery: trio.Nursery
    scanners: Mapping[Address, Scanner]

    def __call__(self, settings: PolicySettings) -> Services:
        return LentServices(self, settings)


class LentServices(RelayServices):
    """Those of a relay, but for the network and for threads."""

    def __init__(self, lending: Lending, settings: PolicySettings) -> None:
        super().__init__(
            settings.name,
            observed=settings.mode is Mode.OBSERVE,
            hostname=lending.hostname,
            resolver=lending.resolver,
            tables=lending.tables,
            clock=lending.now,
            observer=lending.observer,
            run_blocking=inline,
        )
        self._lending = lending

    async def connect(self, address: Address, *, timeout: float) -> trio.abc.Stream:
        return await connect_to(self._lending.scanners, address, self._lending.nursery)
