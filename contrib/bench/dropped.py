"""dropped.py [CLIENTS]: waves of so many clients (1000) that send 256 KiB and drop while four
policies read it. What a worker has after each wave must not grow.

Every second one resets the connection, the others close it.
"""

from __future__ import annotations

import socket
import struct
import sys

import bench_policies
import trio
from lab import directory, show, verdict
from measure import forget_peak, peak_rss, rss

from tests.e2e.support.client import message
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.tools import SmtpSink
from tests.e2e.support.waiting import pause, wait_for

MIB = 1 << 20
WAVES = 4
AT_ONCE = 20
#: Just kept in memory: what is larger lies in a file.
SIZE = 256 * 1024 - 2048
#: Octets that the worker may have more after the last wave than after the first one.
MOST = 16 * MIB
#: And more than before all of them: those at once, each twice over, with room for the heap.
MOST_IN_ALL = 64 * MIB

COMMANDS = b"EHLO c.test\r\nMAIL FROM:<a@src.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n"
LINGER_NO = struct.pack("ii", 1, 0)


async def drop(port: int, number: int, content: bytes) -> None:
    """Fails unless the relay has taken all of it, up to the final dot."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(COMMANDS)
        heard = b""
        while b"\r\n354 " not in heard:
            octets = await stream.receive_some()
            assert octets, f"the relay hung up: {heard!r}"
            heard += octets
        await stream.send_all(content + b".\r\n")
        await trio.sleep(0.3)  # a reset takes away what was not read yet
        if number % 2:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NO)


async def wave(port: int, count: int, content: bytes) -> None:
    room = trio.CapacityLimiter(AT_ONCE)

    async def one(number: int) -> None:
        async with room:
            await drop(port, number, content)

    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(one, number)


def sessions(relay: Edgerelay) -> int:
    return sum(worker["gauges"]["sessions"] for worker in relay.json("status")["workers"])


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    content = message(size=SIZE)
    rows = []
    with directory() as path, SmtpSink(path / "sink") as sink:
        readers = [{"use": "bench-reader", "takes": "30s", "timeout": "60s"}] * 4
        config = relay_config(path / "relay", f"smtp://127.0.0.1:{sink.port}", policy=readers)
        env = bench_policies.install(path / "site")
        with Edgerelay(path / "relay", config, env=env) as relay:
            trio.run(wave, relay.port, 20, content)
            [worker] = relay.worker_pids()
            wait_for("the first ones to end", lambda: sessions(relay) == 0, 60)
            start = rss(worker)
            after = []
            for number in range(WAVES):
                forget_peak(worker)
                trio.run(wave, relay.port, count, content)
                wait_for("the end of all sessions", lambda: sessions(relay) == 0, 60)
                pause(1)
                after.append(rss(worker))
                rows.append(
                    (number + 1, f"{after[-1] / MIB:.1f}", f"{peak_rss(worker) / MIB:.1f}")
                )
            lasting = relay.worker_pids() == [worker]
            accepted = relay.find("message")
            ends = {event["end"] for event in relay.find("session")}
    show(
        f"{count} clients a wave, {AT_ONCE} at once; {start / MIB:.1f} MiB before",
        ("wave", "after it MiB", "peak MiB"),
        rows,
    )
    return verdict(
        ("the worker stayed up", lasting),
        ("all were lost and nothing of theirs was accepted", ends == {"lost"} and not accepted),
        (f"the last wave left at most {MOST // MIB} MiB more", after[-1] - after[0] <= MOST),
        (
            f"all of them left at most {MOST_IN_ALL // MIB} MiB",
            max(after) - start <= MOST_IN_ALL,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
