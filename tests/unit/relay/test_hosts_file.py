"""/etc/hosts is read with tolerance, and again now and then."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from edgerelay.relay.hosts_file import HostsFile
from edgerelay.runtime import inline


async def test_names_of_this_machine(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    file = tmp_path / "hosts"
    hosts = HostsFile(inline, file)
    assert await hosts("store") == ()
    file.write_bytes(
        b"# comment\n127.0.0.1 localhost\n10.0.0.5 Store store.lan. # the server\n"
        b"::1 store\nnonsense store\n\n10.0.0.7\n\xff\xfe store\n"
    )
    await trio.sleep(31)
    assert await hosts("store") == ["10.0.0.5", "::1"]
    assert await hosts("store.lan") == ["10.0.0.5"]
    assert await hosts("other") == ()
