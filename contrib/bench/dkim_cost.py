"""dkim_cost.py: what DKIM costs: of a usual message, and of each hostile one beside its bound.

The bound is 20 ms and 50 ms a MiB of CPU, reading and all signatures together. Prints the worst
of tests/hostile (or of the folders that are named), and messages made to be as bad as can be.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import trio  # noqa: E402

from edgerelay.mail.address import NULL_REVERSE_PATH  # noqa: E402
from edgerelay.mail.envelope import Envelope  # noqa: E402
from edgerelay.pipeline.message import read_message  # noqa: E402
from edgerelay.policy import Answer, MailTransaction, Session, Status  # noqa: E402
from edgerelay.testing.messages import TEST_KEYS, SigningKey, build_message, sign  # noqa: E402
from edgerelay_policies.dkim import Dkim, DkimOptions  # noqa: E402
from tests.policies.dkim_support import Stored  # noqa: E402
from tests.policies.services import Given, LentServices  # noqa: E402

LINE = "line of a text that is as long as most of them are in real mail\n"


class EveryKey:
    """Every name has the same key; no question takes time."""

    def __init__(self, key: SigningKey) -> None:
        record = (f"v=DKIM1; k={key.kind}; p={key.public}".encode(),)
        self._answer = Answer(Status.FOUND, (record,))

    async def resolve(self, name: str, rdtype: str) -> Answer:
        return self._answer


def main() -> int:
    folders = [Path(name) for name in sys.argv[1:]] or [ROOT / "tests/hostile"]
    return trio.run(measure, folders)


async def measure(folders: list[Path]) -> int:
    for key in TEST_KEYS.values():
        for size in (4, 64, 1024):
            body = LINE * (size * 1024 // len(LINE) - 8)
            message = sign(build_message(body=body), "a.example", "s", key)
            spent = [await cpu(message, key) for _ in range(2000 // (size + 16))]
            print(f"{key.kind:8} {size:5} KiB {sorted(spent)[len(spent) // 2] * 1e6:8.0f} µs")
    rows = []
    for name, message in [*found(folders), *made()]:
        for in_memory in (True, False):
            spent_ = await cpu(message, TEST_KEYS["rsa-2048"], in_memory)
            bound = 0.020 + 0.050 * len(message) / 2**20
            rows.append((spent_ / bound, spent_ * 1e3, len(message), name))
    print(f"\n{len(rows)} hostile readings; the worst of them:")
    for share, milliseconds, size, name in sorted(rows, reverse=True)[:12]:
        print(f"{share:6.0%} of the bound {milliseconds:7.1f} ms {size:9} octets  {name}")
    return int(max(rows)[0] > 1)


async def cpu(message: bytes, key: SigningKey, in_memory: bool = True) -> float:
    """Seconds of CPU for reading a message and all its signatures."""
    lent = LentServices()
    lent.dns = EveryKey(key)
    policy = Dkim(DkimOptions(), lent)
    session = Session(ip_address("192.0.2.1"), "TOKEN")
    transaction = MailTransaction(Given(), session, Envelope(NULL_REVERSE_PATH), ())
    started = time.process_time()
    view = await read_message(Stored(message, in_memory))
    await policy.on_message(transaction, view)
    return time.process_time() - started


def found(folders: list[Path]) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        for path in sorted(folder.rglob("*.eml")):
            octets = path.read_bytes()
            if "real" in path.parts:
                octets = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            yield path.name, octets


def made() -> Iterator[tuple[str, bytes]]:
    """Five good body hashes, so that each signature comes to its end."""
    signed = partial(five, key=TEST_KEYS["rsa-2048"])
    fields = [(f"X{number}", " " * 70) for number in range(250)]
    yield "250 names in h=", signed(build_message(fields=fields), [name for name, _ in fields])
    many = [("X", f"{number} " + " " * 60) for number in range(30_000)]
    yield "2 MB of one name", signed(build_message(fields=many), ["x"] * 255)
    yield "a field of 2 MB", signed(build_message(fields=[("X", " \t" * 1_000_000)]), ["x"])
    folded = [("X", "\r\n ".join("x" * 400_000))]
    yield "a field of 400,000 folds", signed(build_message(fields=folded), ["x"])
    yield "1 MiB of empty lines", signed(build_message(body="\n" * 2**19 + "x\n"), [])
    yield "1 MiB of spaces", signed(build_message(body=" " * 2**20 + "x\n"), [])
    yield "1 MiB of short lines", signed(build_message(body=" \n\tx\n" * 2**17), [])


def five(message: bytes, names: list[str], key: SigningKey) -> bytes:
    fields = []
    for form in ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"):
        whole = sign(message, "a.example", "s", key, names=["from", *names], canonicalization=form)
        fields.append(whole[: len(whole) - len(message)])
    return b"".join([fields[-1], *fields]) + message


if __name__ == "__main__":
    sys.exit(main())
