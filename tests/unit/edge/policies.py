"""Policies made of functions, for tests of what a session does with their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio

from edgerelay.policy import MessageVerdict, Policy, Services

Hook = Callable[..., Awaitable[MessageVerdict]]


def policy(**body: Any) -> Policy[None]:
    """A policy whose hooks are functions without a self."""
    hooks = {
        name: (lambda hook: lambda _, *args: hook(*args))(value) if callable(value) else value
        for name, value in body.items()
    }
    return cast("Policy[None]", type("P", (Policy,), hooks)(None, cast("Services", None)))


def says(verdict: MessageVerdict, after: float = 0) -> Hook:
    async def hook(*_: object) -> MessageVerdict:
        if after:
            await trio.sleep(after)
        return verdict

    return hook
