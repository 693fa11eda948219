"""What `edgerelay check` finds without asking the network."""

from __future__ import annotations

import os
import pwd
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Final

from edgerelay.cli.output import NotSo
from edgerelay.cli.policy_graph import graph, idle, unusual
from edgerelay.cli.questions import stopped
from edgerelay.config.values import Config
from edgerelay.edge.settings import ListenerTls
from edgerelay.mail.address import Mailbox
from edgerelay.net.x509 import leaf_facts
from edgerelay.observe.escape import escape
from edgerelay.relay.routing import Router
from edgerelay.relay.settings import HopKind


class Grade(Enum):
    GOOD = "ok"
    WARNING = "warning"  #: works, but is rarely meant
    PROBLEM = "problem"  #: does not work


@dataclass(frozen=True, slots=True)
class Finding:
    grade: Grade
    what: str
    text: str


#: Hops that could be asked whether a recipient exists.
_CAN_TELL: Final = (HopKind.SMTP, HopKind.SMTPS, HopKind.LMTP, HopKind.LMTP_UNIX)


#: Days before its end from which on a certificate is warned of.
_SOON: Final = 14


def advice(config: Config, now: float) -> Iterator[Finding]:
    """What works, yet is rarely what an administrator wants. ``now`` is in seconds (epoch)."""
    for route in config.relay().routes:
        if route.recipients == "any" and any(hop.kind in _CAN_TELL for hop in route.next_hops):
            yield Finding(
                Grade.WARNING,
                f"route {route.domains[0]}",
                'recipients = "any" accepts mail that the next hop refuses: '
                "bounces go to forged senders",
            )
    postmaster = Mailbox.from_text(config.postmaster or f"postmaster@{config.hostname}")
    if Router(config.relay()).lane_of(postmaster, anywhere=False) is None:
        # RFC 5321 section 4.5.1: there must be somebody to write to.
        text = f"no route takes {postmaster}: mail to <postmaster> is refused"
        yield Finding(Grade.WARNING, "postmaster", text)
    for network in config.edge().relay_from:
        if network.prefixlen == 0:
            text = f"{network} may send anywhere: this is an open relay"
            yield Finding(Grade.WARNING, "access.relay_from", text)
    if config.tls_files:
        yield from _certificates(config, now)
    elif all(listener.tls is ListenerTls.OFF for listener in config.listeners):
        yield Finding(Grade.WARNING, "tls", "no [tls]: mail arrives in the clear")
    if os.geteuid() == 0 and not config.user_is_explicit and not _is_user(config.user):
        text = f"this machine has no user {config.user}: the relay will stay root"
        yield Finding(Grade.WARNING, "user", text)


def _certificates(config: Config, now: float) -> Iterator[Finding]:
    if config.tls_files is None or config.tls_paths is None:
        return
    pairs = zip(config.tls_files.pairs, config.tls_paths.pairs, strict=True)
    for index, (pair, (path, _)) in enumerate(pairs):
        what = f"tls.more[{index}]" if index else "tls"
        try:
            facts = leaf_facts(pair.certificate)
        except ValueError as error:  # one that OpenSSL takes, alone: nothing has to be chosen
            yield Finding(Grade.WARNING, what, f"{path}: cannot tell for whom it is: {error}")
            continue
        names = escape(", ".join(facts.names), 300) or "no DNS name"
        days = (facts.not_after - now) / 86400
        until = datetime.fromtimestamp(facts.not_after, UTC).date()
        text = f"{path}: {facts.key_type} for {names}, until {until}"
        if days < 0:
            yield Finding(Grade.WARNING, what, f"{text}: it has expired")
        elif days < _SOON:
            yield Finding(Grade.WARNING, what, f"{text}: {days:.0f} days are left")
        else:
            yield Finding(Grade.GOOD, what, text)


def policy_findings(config: Config) -> Iterator[Finding]:
    """Who is asked at which stage, in which order and for how long; then what is unusual."""
    for stage in graph(config):
        members = " > ".join(member.text for member in stage.policies)
        text = f"{members}; at most {stage.worst_case:g} s"
        yield Finding(Grade.GOOD, f"policies at {stage.stage}", text)
    if off := idle(config):
        yield Finding(Grade.GOOD, "policies off", ", ".join(off))
    for what, text in unusual(config):
        yield Finding(Grade.WARNING, what, text)


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def state_findings(state_dir: Path) -> Iterator[Finding]:
    """Is it there, ours, and writable; or could it be made? Creates nothing."""
    place = state_dir
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        text = f"{place} is no directory"
    elif not os.access(place, os.W_OK | os.X_OK):
        text = f"{place} is not writable for us"
    elif place == state_dir and place.stat().st_mode & 0o077:
        mode = place.stat().st_mode & 0o777
        text = f"{place} is open to others (mode {mode:04o}): chmod 700"
        yield Finding(Grade.WARNING, "state_dir", text)
        return
    else:
        text = str(state_dir) if place == state_dir else f"{state_dir} will be created"
        yield Finding(Grade.GOOD, "state_dir", text)
        return
    yield Finding(Grade.PROBLEM, "state_dir", text)


def spool_findings(state_dir: Path) -> Iterator[Finding]:
    """Let SQLite look through every shard of a stopped relay."""
    try:
        with stopped(state_dir):
            for database in sorted((state_dir / "spool").glob("*/spool.db")):
                yield _integrity(database)
    except NotSo as error:
        yield Finding(Grade.PROBLEM, "spool", error.message)


def _integrity(database: Path) -> Finding:
    what = f"shard {database.parent.name}"
    try:
        connection = sqlite3.connect(database)
        try:
            rows = connection.execute("PRAGMA integrity_check(10)").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Finding(Grade.PROBLEM, what, escape(str(error)))
    text = "; ".join(str(row[0]) for row in rows)
    if text == "ok":
        return Finding(Grade.GOOD, what, "its database is whole")
    return Finding(Grade.PROBLEM, what, escape(text, 500))
