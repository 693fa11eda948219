"""Values that processes give each other."""

from __future__ import annotations

import pickle

from edgerelay.config import parse


def test_the_values_travel_to_workers() -> None:
    config = parse(b'[[route]]\ndomains = ["*"]\nnext_hop = ["mx"]\n', "e.toml")
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own octets
