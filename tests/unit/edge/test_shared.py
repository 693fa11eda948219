"""Tokens tell sessions apart; room is the disk's and ours."""

from __future__ import annotations

from typing import Any

import pytest

from edgerelay.edge.limits import ClientLimits
from edgerelay.edge.settings import EdgeSettings
from edgerelay.edge.shared import Shared


class Disk:
    accepts_mail = True


def shared(clock: float = 1.0, **changes: Any) -> Shared:
    settings = EdgeSettings("mx.example.org", **changes)
    unused: Any = None
    spool: Any = Disk()
    return Shared(settings, spool, unused, unused, lambda: clock, ClientLimits(settings))


def test_tokens_differ_between_sessions_and_between_lives() -> None:
    first, second = shared(1.0), shared(1.000003)
    tokens = [each.new_token() for each in (first, second) for _ in range(5000)]
    assert len(set(tokens)) == 10_000
    assert all(token.isalnum() and token.isupper() for token in tokens)
    assert max(map(len, tokens)) <= 8


def test_a_bare_postmaster_is_ours_unless_told_otherwise() -> None:
    assert str(shared().postmaster) == "postmaster@mx.example.org"
    assert str(shared(postmaster="pm@example.net").postmaster) == "pm@example.net"


@pytest.mark.parametrize(
    ("accepts", "content", "room"), [(True, 9, True), (False, 0, False), (True, 10, False)]
)
def test_room(accepts: bool, content: int, room: bool) -> None:
    here = shared(content_memory=10)
    here.spool.accepts_mail = accepts  # type: ignore[misc]  # a property of the real one
    here.content = content
    assert here.has_room is room
