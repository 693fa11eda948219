"""The literal map keeps the contract of `Resolver`."""

from __future__ import annotations

from edgerelay.testing.check_resolver import ZONE, check_resolver
from edgerelay.testing.literal_dns import LiteralResolver


async def test_the_literal_map_keeps_the_contract() -> None:
    await check_resolver(LiteralResolver(ZONE))
