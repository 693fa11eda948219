"""What `edgerelay check` asks the network: does the DNS answer, does each next hop greet us?

Every question has a few seconds; all are asked at once.
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import trio

from edgerelay.cli.findings import Finding, Grade
from edgerelay.config.values import Config
from edgerelay.dns.answer import Resolver, Status
from edgerelay.dns.upstream import DnspythonUpstream
from edgerelay.observe.escape import escape
from edgerelay.relay.settings import HopKind, NextHop

#: Seconds for one hop: connection, TLS and greeting.
HOP_WITHIN: Final = 10.0
_GREETING_LIMIT: Final = 2048
_BY_NAME: Final = (HopKind.SMTP, HopKind.SMTPS, HopKind.LMTP)


async def network_findings(config: Config) -> Sequence[Finding]:
    """Findings on the DNS first, then one for each next hop, in the order of the file."""
    resolver = DnspythonUpstream(config.dns_servers, config.dns_timeout)
    hops = {str(hop): hop for route in config.relay().routes for hop in route.next_hops}
    needed = bool(config.edge().relay_from) or any(_needs_dns(hop) for hop in hops.values())
    questions: list[Callable[[], Awaitable[Finding]]] = [
        partial(_dns_finding, resolver, config, needed)
    ]
    questions += [partial(_hop_finding, hop, resolver) for hop in hops.values()]
    found: list[Finding | None] = [None] * len(questions)

    async def find(index: int) -> None:
        found[index] = await questions[index]()

    async with trio.open_nursery() as nursery:
        for index in range(len(questions)):
            nursery.start_soon(find, index)
    return [finding for finding in found if finding is not None]


def _needs_dns(hop: NextHop) -> bool:
    if hop.kind is HopKind.MX:
        return True
    is_literal = ":" in hop.host or hop.host.replace(".", "").isdigit()
    return hop.kind in _BY_NAME and not is_literal


async def _dns_finding(resolver: Resolver, config: Config, needed: bool) -> Finding:
    """Any answer will do, be it that our own name does not exist."""
    answer = await resolver.resolve(config.hostname, "A")
    servers = ", ".join(f"{host} port {port}" for host, port in config.dns_servers)
    told = servers or "the system's servers"
    if answer.status is not Status.TEMPORARY:
        return Finding(Grade.GOOD, "dns", f"{told}: answered ({answer.status.value})")
    if needed:
        return Finding(Grade.PROBLEM, "dns", f"{told}: no answer")
    return Finding(Grade.WARNING, "dns", f"{told}: no answer; no route needs one")


async def _hop_finding(hop: NextHop, resolver: Resolver) -> Finding:
    what = f"next hop {hop}"
    if hop.kind is HopKind.MX:
        return await _mx_finding(hop, what, resolver)
    try:
        if hop.kind is HopKind.MAILDIR:
            return _maildir_finding(hop, what)
        with trio.fail_after(HOP_WITHIN):
            greeting = await _greeting(hop)
    except trio.TooSlowError:
        return Finding(Grade.PROBLEM, what, f"no greeting within {HOP_WITHIN:g} s")
    except (OSError, trio.BrokenResourceError, ValueError) as error:
        return Finding(Grade.PROBLEM, what, escape(_reason(error), 300))
    text = escape(greeting, 200)
    if greeting.startswith("220"):
        return Finding(Grade.GOOD, what, text)
    return Finding(Grade.PROBLEM, what, f"greets with {text}" if text else "hangs up on us")


def _reason(error: BaseException) -> str:
    """The system's own words; Trio wraps them once for each address it tried."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(sorted({_reason(inner) for inner in error.exceptions}))
    number = getattr(error, "errno", None) or 0
    if number in errno.errorcode:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


async def _greeting(hop: NextHop) -> str:
    """Connect, read one line, say goodbye."""
    stream = await _connect(hop)
    try:
        line = b""
        while b"\n" not in line and len(line) < _GREETING_LIMIT:
            data = await stream.receive_some(_GREETING_LIMIT)
            if not data:
                break
            line += data
        with suppress(trio.BrokenResourceError):  # it may have hung up already
            await stream.send_all(b"QUIT\r\n")
    finally:
        await trio.aclose_forcefully(stream)
    return line.partition(b"\n")[0].rstrip(b"\r").decode("utf-8", "backslashreplace")


async def _connect(hop: NextHop) -> trio.abc.Stream:
    if hop.kind is HopKind.LMTP_UNIX:
        return await trio.open_unix_socket(str(hop.path))
    stream: trio.abc.Stream = await trio.open_tcp_stream(hop.host, hop.port)
    if hop.kind is HopKind.SMTPS:
        context = ssl.create_default_context()
        context.check_hostname = False  # whether it must be good is the route's `tls`
        context.verify_mode = ssl.CERT_NONE
        stream = trio.SSLStream(stream, context, server_hostname=hop.host, https_compatible=True)
    return stream


async def _mx_finding(hop: NextHop, what: str, resolver: Resolver) -> Finding:
    if not hop.host:
        return Finding(Grade.GOOD, what, "asked for each recipient's domain")
    answer = await resolver.resolve(hop.host, "MX")
    if answer.status is Status.NO_DATA:
        answer = await resolver.resolve(hop.host, "A")
    grade = Grade.GOOD if answer.status is Status.FOUND else Grade.PROBLEM
    return Finding(grade, what, answer.status.value)


def _maildir_finding(hop: NextHop, what: str) -> Finding:
    """The part before the first {…} must be a directory that can be written, or be made."""
    assert hop.path is not None  # noqa: S101 - its kind has one
    fixed = hop.path
    while "{" in str(fixed):
        fixed = fixed.parent
    place = fixed
    while not place.exists() and place != place.parent:
        place = place.parent
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return Finding(Grade.GOOD, what, _exists(fixed))
    return Finding(Grade.PROBLEM, what, f"{place} is not a directory we can write to")


def _exists(path: Path) -> str:
    return "writable" if path.exists() else f"{path} will be created"
