"""The caching resolver keeps the contract of `Resolver`, cold and warm."""

from __future__ import annotations

import trio

from edgerelay.dns.caching import CachingResolver
from edgerelay.testing.check_resolver import ZONE, check_resolver
from edgerelay.testing.literal_dns import LiteralResolver


async def test_caching_keeps_the_contract(nursery: trio.Nursery) -> None:
    resolver = CachingResolver(LiteralResolver(ZONE), nursery)
    await check_resolver(resolver)
    await check_resolver(resolver)
