"""One worker put together: what receives, what delivers, and the shards between the two.

A worker process stands on the real world, a test and the simulation on another; what is built
on it is the same, and is built here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from edgerelay.census import strays
from edgerelay.dns.answer import Resolver
from edgerelay.edge.boundary import Deliverable, Recipients, Refused
from edgerelay.edge.limits import ClientLimits
from edgerelay.edge.server import Edge
from edgerelay.edge.settings import EdgeSettings
from edgerelay.mail.address import ForwardPath, ReversePath
from edgerelay.net.reaper import Reaper
from edgerelay.net.socket_transport import Dialer
from edgerelay.observe.events import Observer
from edgerelay.pipeline.policies import Policies, open_policies
from edgerelay.pipeline.settings import PolicySettings
from edgerelay.policy import Mx, Services
from edgerelay.relay.finding import Finder, Hosts, no_hosts
from edgerelay.relay.recipients import Accepted, RecipientCheck
from edgerelay.relay.relay import Relay
from edgerelay.relay.routing import Router
from edgerelay.relay.settings import RelaySettings
from edgerelay.relay.tls import ClientContexts
from edgerelay.runtime import Clock, RunBlocking
from edgerelay.shards import OpenShard, Shard, Shards
from edgerelay.spool import SqliteSpool
from edgerelay.spool.api import Spool
from edgerelay.tables import Tables


@dataclass(frozen=True, slots=True)
class Ground:
    """What a worker stands on. The owner runs ``reaper``."""

    clock: Clock
    observer: Observer
    run_blocking: RunBlocking
    reaper: Reaper
    dialer: Dialer
    resolver: Resolver
    tables: Tables
    lend: Callable[[PolicySettings], Services]
    open_shard: OpenShard
    shuffle: Callable[[list[Mx]], None]
    hosts: Hosts = no_hosts
    own_addresses: Collection[str] = ()  #: where we listen on port 25
    contexts: ClientContexts | None = None  #: None: from the system's authorities


@dataclass(frozen=True, slots=True)
class Station:
    """The parts at work. The owner runs ``shards.run``, and accepts for ``edge``."""

    edge: Edge
    shards: Shards
    policies: Policies
    limits: ClientLimits

    def gauges(self) -> dict[str, int]:
        """What is going on now, in numbers; all of them are 0 when nobody is connected."""
        contents = [shard.spool.contents for shard in self.shards.owned]
        return {
            **self.edge.gauges(),
            "contents": sum(count for count, _ in contents),
            "content_files": sum(files for _, files in contents),
            "claims": sum(shard.relay.claims for shard in self.shards.owned),
            "stray_tasks": len(strays()),
        }


@asynccontextmanager
async def assemble(
    edge: EdgeSettings,
    relay: RelaySettings,
    policies: Sequence[PolicySettings],
    name: str,
    spool: SqliteSpool,
    ground: Ground,
) -> AsyncIterator[Station]:
    """Build a worker around its own shard, which is called ``name``; open its policies.

    Raises `NotOpened`.
    """
    async with open_policies(policies, ground.lend, ground.observer) as opened:
        router = Router(relay)
        finder = Finder(
            ground.resolver,
            relay.hostname,
            own_addresses=ground.own_addresses,
            shuffle=ground.shuffle,
            hosts=ground.hosts,
        )
        senders = Counter[str]()

        def relay_for(spool: Spool) -> Relay:
            return Relay(
                relay,
                spool,
                router,
                finder,
                ground.dialer,
                ground.observer,
                ground.clock,
                run_blocking=ground.run_blocking,
                contexts=ground.contexts,
                senders=senders,
            )

        own = Shard(name, spool, relay_for(spool))
        check = RecipientCheck(
            router,
            ground.tables,
            own.relay.probe,
            ground.observer,
            ground.clock,
            ground.run_blocking,
        )
        limits = ClientLimits(edge)
        yield Station(
            edge=Edge(
                edge,
                spool,
                asking(check),
                ground.observer,
                ground.clock,
                limits,
                ground.reaper,
                opened,
                partial(_lane_to, router),
            ),
            shards=Shards(own, ground.open_shard, relay_for, ground.observer),
            policies=opened,
            limits=limits,
        )


def asking(check: RecipientCheck) -> Recipients:
    """The relay's knowledge of recipients in the edge's words: neither knows the other."""

    async def ask(
        forward_path: ForwardPath, reverse_path: ReversePath, *, trusted: bool
    ) -> Deliverable | Refused:
        answer = await check(forward_path, reverse_path, trusted=trusted)
        if isinstance(answer, Accepted):
            return Deliverable(answer.lane, answer.route)
        return Refused(answer.reply)

    return ask


def _lane_to(router: Router, next_hops: tuple[str, ...]) -> str | None:
    lane = router.lane_to(next_hops)
    return lane.name if lane else None
