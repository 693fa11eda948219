"""Root looks at the machine as the relay's user would, and is root again afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edgerelay.cli.identity import acting_as

Run = Callable[..., Result]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@as_root
def test_what_only_root_may_touch_is_out_of_reach(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    before = os.geteuid(), os.getegid(), os.getgroups()
    with acting_as("nobody"):
        assert os.geteuid() != 0
        with pytest.raises(PermissionError):
            list(mine.iterdir())
        assert not os.access(mine, os.W_OK, effective_ids=True)
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
    assert list(mine.iterdir()) == []


@as_root
def test_check_tries_a_maildir_as_the_relays_user(tmp_path: Path, run: Run) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    config = tmp_path / "edgerelay.toml"
    config.write_text(
        f"""user = "nobody"
        state_dir = "{tmp_path}/state"
        [[route]]
        domains = ["example.com"]
        next_hop = ["maildir://{mine}/mail"]
        """
    )
    assert "Permission denied" in run("check", "-c", str(config)).stdout


def test_a_user_that_the_machine_does_not_have_is_nobody_to_become() -> None:
    before = os.geteuid()
    with acting_as("there-is-no-such-user"):
        assert os.geteuid() == before
