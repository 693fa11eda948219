"""The real world under a worker: sockets, threads, DNS, and the tables of the machine."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import ip_address

import trio

from edgerelay.assembly import Ground
from edgerelay.control.assignment import Assignment
from edgerelay.dns.answer import Resolver
from edgerelay.dns.caching import CachingResolver
from edgerelay.dns.upstream import DnspythonUpstream
from edgerelay.net.reaper import Reaper
from edgerelay.net.socket_transport import dial
from edgerelay.observe.events import Observer
from edgerelay.pipeline.services import RelayServices
from edgerelay.pipeline.settings import Mode, PolicySettings
from edgerelay.relay.finding import SMTP_PORT
from edgerelay.relay.hosts_file import HostsFile
from edgerelay.relay.tls import client_contexts
from edgerelay.runtime import Clock, in_thread
from edgerelay.shards import OpenShard
from edgerelay.tables import MemoryTables, SqliteTables, Tables


async def real_ground(
    assignment: Assignment,
    open_shard: OpenShard,
    observer: Observer,
    clock: Clock,
    services: trio.Nursery,
    stack: AsyncExitStack,
) -> Ground:
    """Open what a worker process stands on. ``services`` runs it, ``stack`` closes it."""
    reaper = Reaper()
    services.start_soon(reaper.run)
    tables = await _tables(assignment, clock, stack)
    upstream = DnspythonUpstream(assignment.dns_servers, timeout=assignment.dns_timeout)
    resolver = CachingResolver(
        upstream, services, timeout=assignment.dns_timeout, observer=observer
    )
    hosts = HostsFile(in_thread)
    return Ground(
        clock=clock,
        observer=observer,
        run_blocking=in_thread,
        reaper=reaper,
        dialer=partial(dial, reaper=reaper),
        resolver=resolver,
        tables=tables,
        lend=_lender(assignment, resolver, tables, clock, observer, hosts),
        open_shard=open_shard,
        shuffle=random.shuffle,
        hosts=hosts,
        own_addresses=_own_addresses(assignment.listener_fds),
        contexts=client_contexts(),
    )


async def _tables(assignment: Assignment, clock: Clock, stack: AsyncExitStack) -> Tables:
    if assignment.tables_backend == "memory":
        return MemoryTables(clock)
    return await stack.enter_async_context(
        SqliteTables(assignment.state_dir / "tables.db", in_thread, clock)
    )


def _lender(
    assignment: Assignment,
    resolver: Resolver,
    tables: Tables,
    clock: Clock,
    observer: Observer,
    hosts: HostsFile,
) -> Callable[[PolicySettings], RelayServices]:
    """What each policy is lent: the worker's own parts, under the policy's name."""

    def lend(settings: PolicySettings) -> RelayServices:
        return RelayServices(
            settings.name,
            observed=settings.mode is Mode.OBSERVE,
            hostname=assignment.edge.hostname,
            resolver=resolver,
            tables=tables,
            clock=clock,
            observer=observer,
            hosts=hosts,
        )

    return lend


def _own_addresses(fds: Sequence[int]) -> set[str]:
    """Where we listen on port 25: an exchanger there is ourselves (RFC 5321 section 5.1)."""
    own = set()
    for fd in fds:
        with socket.socket(fileno=os.dup(fd)) as listening:
            host, port = listening.getsockname()[:2]
            if port == SMTP_PORT and not ip_address(host).is_unspecified:
                own.add(host)
    return own
