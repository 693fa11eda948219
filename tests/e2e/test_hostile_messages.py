"""Odd and hostile messages through all policies: what leaves is what came, or it is refused.

Apart from our own fields above it, and forged results in our name, not an octet may differ; and
no message may cost more than 20 ms of CPU and 50 ms for each MiB.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support.client import Client
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop

HOSTILE = sorted((Path(__file__).parents[1] / "hostile").rglob("*.eml"))
US = "mx.edge.test"
MiB = 1024 * 1024
#: What the protocol, or RFC 5321 section 6.3 on loops, forbids us to pass on.
REFUSED = {"550 5.6.11": "bare CR or LF", "554 5.4.6": "a loop"}
FORGED = re.compile(
    rb'(?im)^authentication-results:(?:\s|\(c\))*"?mx\.edge\.test\b.*(?:\r\n[ \t].*)*\r\n'
)


def as_sent(path: Path) -> bytes:
    """What was stored with the line ends of Unix is mail with CRLF; the rest goes as it is."""
    octets = path.read_bytes()
    if path.parent.name != "fresh" and b"\r\n" not in octets:
        octets = octets.replace(b"\n", b"\r\n")
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def without_forgeries(octets: bytes) -> bytes:
    header, blank, body = octets.partition(b"\r\n\r\n")
    return FORGED.sub(b"", header + b"\r\n")[:-2] + blank + body


def cpu(pid: int) -> float:
    """Seconds on a CPU, all threads of a process."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def test_every_hostile_message_leaves_as_it_came_or_is_refused(
    relay: Callable[..., Edgerelay],
) -> None:
    with NextHop() as hop:
        server = relay(
            f"smtp://127.0.0.1:{hop.port}",
            hostname=US,
            limits={"errors_per_session": 10_000},
            dns={"servers": ["127.0.0.1:9"], "timeout": "1s"},
            policy=[
                {"use": "access", "deny_senders": ["nobody@nowhere.example"]},
                {"use": "spf", "on_temperror": "tag"},
                {"use": "dkim"},
                {"use": "greylisting", "mode": "observe", "delay": "1s"},
            ],
        )
        (worker,) = server.worker_pids()
        costs: dict[str, float] = {}
        accepted = 0
        for path in HOSTILE:
            content = as_sent(path)
            # Twice: a disk or a neighbour may disturb the first one, not what it costs.
            spent = []
            for _ in range(2):
                before = cpu(worker)
                with Client(server.port) as client:
                    reply = client.send("a@src.test", "b@example.test", content)
                if reply.code != 250:
                    code = " ".join(str(reply).split()[:2])
                    assert code in REFUSED, f"{path.name}: {reply}"
                else:
                    accepted += 1
                    taken = hop.wait_taken(accepted)[-1].content
                    expected = without_forgeries(content)
                    assert taken.endswith(expected), path.name
                    ours = taken[: len(taken) - len(expected)]
                    if content[:1] in (b" ", b"\t"):  # an empty line, lest it goes on with a field
                        assert ours.endswith(b"\r\n\r\n"), path.name
                        ours = ours[:-2]
                    check_ours(ours, path.name)
                spent.append(cpu(worker) - before)
            costs[path.name] = min(spent) / (0.020 + 0.050 * len(content) / MiB)
        assert accepted > 100
        assert [name for name, share in costs.items() if share > 1] == [], costs
        assert server.find("policy_failed") == []
        assert [e for e in server.find("trouble") if e["where"] != "start"] == []


def check_ours(prefix: bytes, name: str) -> None:
    """Above the message stand our own fields, and nothing else."""
    fields = re.sub(rb"\r\n[ \t]", b" ", prefix).removesuffix(b"\r\n").split(b"\r\n")
    names = [field.partition(b":")[0] for field in fields]
    assert names == [b"Authentication-Results", b"Received"], f"{name}: {prefix!r}"
    assert fields[0].startswith(b"Authentication-Results: mx.edge.test; "), name


@pytest.mark.parametrize("name", ["ar-forged.eml"])
def test_the_forgeries_are_those_meant(name: str) -> None:
    (path,) = [path for path in HOSTILE if path.name == name]
    assert b"uthentication" not in without_forgeries(as_sent(path))
