"""A verdict cannot hold a reply of another kind."""

from __future__ import annotations

import pytest

from edgerelay.policy import Defer, Reject, Reply

PERMANENT, TRANSIENT = Reply(550, "5.7.1", "no"), Reply(451, "4.7.1", "later")


def test_each_has_replies_of_its_kind() -> None:
    assert Reject(PERMANENT).reply is PERMANENT
    assert Defer(TRANSIENT).reply is TRANSIENT
    with pytest.raises(ValueError, match="not 451"):
        Reject(TRANSIENT)
    with pytest.raises(ValueError, match="not 550"):
        Defer(PERMANENT)
