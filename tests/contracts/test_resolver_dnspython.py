"""dnspython against a real server on loopback keeps the contract of `Resolver`."""

from __future__ import annotations

import trio

from edgerelay.dns.upstream import DnspythonUpstream
from edgerelay.testing.check_resolver import ZONE, check_resolver
from edgerelay.testing.literal_dns import serve_dns


async def test_dnspython_keeps_the_contract(nursery: trio.Nursery) -> None:
    port = await serve_dns(ZONE, nursery)
    await check_resolver(DnspythonUpstream([("127.0.0.1", port)]))
