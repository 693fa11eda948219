"""outage.py [SECONDS]: the next hop is down for that much load (60) and comes back; then one is
down past ``expire`` and every message is reported to its sender."""

from __future__ import annotations

import email
import email.policy
import re
import sys
import threading
import time
from pathlib import Path

from lab import directory, show, verdict

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.next_hop import NextHop, Taken
from tests.e2e.support.waiting import pause, wait_for

RATE = 50  # messages a second
#: A message may come at most so many seconds after one that is `YOUNGER` seconds younger.
LATE, YOUNGER = 5.0, 30.0


def offer(port: int, seconds: float, sent: dict[str, float]) -> None:
    """Send at `RATE` over one connection; ``sent`` gets the time of each 250."""
    with Client(port) as client:
        start = time.monotonic()
        for number in range(int(seconds * RATE)):
            pause(max(0.0, start + number / RATE - time.monotonic()))
            identifier = f"m{number:06}"
            answer = client.send(
                "a@src.test", "b@example.test", message(identifier=identifier, size=2048)
            )
            assert answer.code == 250, answer
            sent[identifier] = time.monotonic()


def identifiers(taken: list[Taken]) -> dict[str, float]:
    """Message id to when it came first."""
    found: dict[str, float] = {}
    for one in taken:
        if match := re.search(rb"Message-ID: <(m\d+)@", one.content):
            found.setdefault(match[1].decode(), one.at)
    return found


def lateness(sent: dict[str, float], came: dict[str, float]) -> float:
    """Seconds: the most that a message came after one at least `YOUNGER` younger."""
    order = sorted(sent, key=sent.__getitem__)
    worst = float("-inf")
    earliest_younger = float("inf")  # of all messages at least YOUNGER s younger than this one
    younger = len(order)
    for identifier in reversed(order):
        while younger and sent[order[younger - 1]] - sent[identifier] >= YOUNGER:
            younger -= 1
            earliest_younger = min(earliest_younger, came[order[younger]])
        worst = max(worst, came[identifier] - earliest_younger)
    return worst


def down_and_up(path: Path, seconds: float) -> list[tuple[str, bool]]:
    hop = NextHop(keep=lambda content: content[:600])
    config = relay_config(
        path, f"smtp://127.0.0.1:{hop.port}", queue={"retry": ["2s", "5s", "10s"]}
    )
    sent: dict[str, float] = {}
    with Edgerelay(path, config) as relay:
        # a little load before and after the outage, so that the lane is seen to go down
        load = threading.Thread(target=offer, args=(relay.port, seconds + 6, sent))
        hop.start()
        load.start()
        pause(3)
        hop.stop()
        pause(seconds)
        hop.start()
        back = time.monotonic()
        load.join()
        wait_for("all of it", lambda: len(identifiers(hop.taken)) >= len(sent), 90)
        came = identifiers(hop.taken)
        hop.stop()
    after = sorted(at for at in came.values() if at > back)
    waiting = sum(1 for identifier, at in sent.items() if at < back < came[identifier])
    # when the whole backlog had come, counted from the first message after the outage
    drained = max(came[i] for i, at in sent.items() if at < back) - after[0]
    late = lateness(sent, came)
    show(
        f"next hop down for {seconds:.0f} s at {RATE} messages/s",
        ("accepted", "arrived", "duplicates", "waited", "first s after", "backlog s", "late s"),
        [
            (
                len(sent),
                len(came),
                len(hop.taken) - len(came),
                waiting,
                f"{after[0] - back:.1f}",
                f"{drained:.1f}",
                f"{late:.1f}" if late > float("-inf") else "-",
            )
        ],
    )
    return [
        ("every message arrived", set(came) >= set(sent)),
        (f"none came more than {LATE} s after one {YOUNGER} s younger", late <= LATE),
    ]


def expired(path: Path, count: int = 20) -> list[tuple[str, bool]]:
    reports = NextHop()
    reports.start()
    dead = NextHop()  # never started
    config = relay_config(
        path,
        f"smtp://127.0.0.1:{dead.port}",
        also={"src.test": reports.port},
        queue={"retry": ["1s"], "expire": "4s", "warn_after": "1h"},
    )
    with Edgerelay(path, config) as relay, Client(relay.port) as client:
        for number in range(count):
            content = message(subject=f"number {number}", identifier=f"x{number}")
            assert client.send("a@src.test", "b@example.test", content).code == 250
        wait_for("the reports", lambda: len(reports.taken) >= count, 60)
        pause(3)
    reports.stop()
    good, about = 0, set()
    for taken in reports.taken:
        report = email.message_from_bytes(taken.content, policy=email.policy.default)
        parts = list(report.walk())
        kinds = [part.get_content_type() for part in parts]
        original = next(p for p in parts if p.get_content_type().startswith("text/rfc822-header"))
        headers = email.message_from_string(original.get_content())
        about.add(headers["Message-ID"])
        good += (
            kinds[0] == "multipart/report"
            and "message/delivery-status" in kinds
            and not any(part.defects for part in parts)
            and "MAIL FROM:<>" in taken.mail
            and "b@example.test" in parts[1].get_content()
        )
    show(
        "down past expire",
        ("messages", "reports", "well-formed", "about different messages"),
        [(count, len(reports.taken), good, len(about))],
    )
    return [
        ("one well-formed report a message", len(reports.taken) == good == len(about) == count)
    ]


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with directory() as path:
        claims = down_and_up(path / "up", seconds)
        claims += expired(path / "expired")
    return verdict(*claims)


if __name__ == "__main__":
    sys.exit(main())
