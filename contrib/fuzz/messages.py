"""messages.py: seeded messages of Hypothesis's making through a whole relay with all policies.

    python contrib/fuzz/messages.py [--count 25000] [--seed 1]

Of each: no policy fails, and what leaves is what came, apart from our own fields above it and
forged results in our name, or it is refused where the protocol forbids it. Runs in virtual time
and memory; a seed gives the same messages again. Exit status 1 and the message, if one is found.
"""

from __future__ import annotations

import argparse
import re
import sys
import time

import trio
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from edgerelay.mail.headers import has_no_header
from edgerelay.observe.events import PolicyFailed, Trouble
from edgerelay.testing import Hop, RelayHarness
from edgerelay.testing.messages import TEST_KEYS, build_message, dkim_records, sign

TOGETHER = 50  # messages of one relay

CONFIG = """
hostname = "mx.edge.test"

[limits]
connections_per_client = 100000
rate_per_client = "off"

[[route]]
domains = ["example.com"]
next_hop = ["smtp://10.0.0.5:25"]
recipients = "any"

[[policy]]
use = "access"
deny_senders = ["nobody@nowhere.example"]

[[policy]]
use = "spf"
on_fail = "tag"
on_temperror = "tag"

[[policy]]
use = "dkim"

[[policy]]
use = "greylisting"
mode = "observe"
"""
KEY = TEST_KEYS["ed25519"]
ZONE = {
    ("sender.example", "TXT"): [(b"v=spf1 ip4:192.0.2.0/24 -all",)],
    **dkim_records("sender.example", "s1", KEY),
}
SIGNED = sign(build_message(), "sender.example", "s1", KEY)
SIGNATURE = SIGNED[: SIGNED.index(b"\r\nFrom:") + 2]
#: What the protocol forbids us to pass on.
REFUSALS = ("550 5.6.11", "554 5.4.6", "552 5.3.4")
FORGED = re.compile(
    rb'(?im)^authentication-results[ \t]*:(?:[ \t\r\n]|\(c\))*"?mx\.edge\.test(?![\w.-]).*'
    rb"(?:\r\n[ \t].*)*\r\n"
)

names = st.sampled_from(
    [b"From", b"To", b"Subject", b"Received", b"DKIM-Signature", b"X", b"", b"\xff\xfe", b"A B"]
)
values = st.one_of(
    st.sampled_from(
        [
            b" Ann <ann@sender.example>",
            b" x\r\n folded\r\n\tagain",
            b" v=1; a=rsa-sha256; d=sender.example; s=s1; h=from; bh=AAAA; b=AAAA",
            b" v=1; a=ed25519-sha256; d=.; s=; h=" + b"from:" * 100 + b"; l=; t=9; b= ; bh=",
            b" " * 500,
            b"\x00",
        ]
    ),
    st.binary(max_size=60).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"")),
)
fields = st.one_of(
    st.builds(lambda name, value: name + b":" + value + b"\r\n", names, values),
    st.sampled_from(
        [
            SIGNATURE,
            b"Authentication-Results: mx.edge.test; spf=pass\r\n",
            b'authentication-results: (c) "mx.edge.test" 1;\r\n dkim=pass\r\n',
            b"Authentication-Results: other.example; spf=pass\r\n",
            b" a fold first\r\n",
            b"no colon at all\r\n",
            b"Received: from a by mx.edge.test; x\r\n",
        ]
    ),
)
bodies = st.lists(
    st.sampled_from(
        [b"Hello Bob,\r\n", b".\r\n", b"..\r\n", b" \t \r\n", b"\r\n", b"x" * 2000 + b"\r\n"]
    )
    | st.binary(max_size=40),
    max_size=6,
).map(b"".join)
messages = st.one_of(
    st.builds(
        lambda header, body: b"".join(header) + b"\r\n" + body,
        st.lists(fields, max_size=8),
        bodies,
    ),
    st.just(SIGNED),
    st.builds(lambda at: SIGNED[:at] + b"x" + SIGNED[at:], st.integers(0, len(SIGNED) - 3)),
)


class Found(Exception):
    """A message that breaks a promise."""


def expected(message: bytes) -> bytes:
    if has_no_header(message):
        return message
    header, blank, body = message.partition(b"\r\n\r\n")
    return FORGED.sub(b"", header + b"\r\n")[:-2] + blank + body if blank else message


async def send_all(contents: list[bytes]) -> int:
    hop = Hop()
    taken = 0
    async with RelayHarness(CONFIG, zone=ZONE, hops={"10.0.0.5:25": hop}) as relay:
        for content in contents:
            message = content if content.endswith(b"\r\n") else content + b"\r\n"
            sent = await relay.send(message=message)
            if not sent.is_accepted:
                if not sent.reply.startswith(REFUSALS):
                    raise Found(f"{sent.reply}: {message!r}")
                continue
            taken += 1
            leaves = hop.contents[-1]
            if len(hop.contents) != taken or not leaves.endswith(expected(message)):
                raise Found(f"came {message!r}\nleft {leaves!r}")
        troubles = [*relay.told(PolicyFailed), *relay.told(Trouble)]
        if troubles:
            raise Found(f"{troubles[0]} among {contents!r}")
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=25_000, help="messages")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    done = taken = 0

    @seed(options.seed)
    @settings(
        max_examples=max(1, options.count // TOGETHER),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(st.lists(messages, min_size=TOGETHER, max_size=TOGETHER))
    def attempt(contents: list[bytes]) -> None:
        nonlocal done, taken
        taken += trio.run(send_all, contents, clock=MockClock(autojump_threshold=0))
        done += len(contents)

    try:
        attempt()
    except Found as found:
        print(found)
        return 1
    print(
        f"seed {options.seed}: {done} messages, {taken} delivered, {done - taken} refused, "
        f"none wrong; {time.monotonic() - started:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
