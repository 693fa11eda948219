"""One message through the configured policies, without a client, a spool or a trace left.

The sessions' own parts do the work (`edgerelay.edge`), so that what is told here is what a
relay would do, but for two things: tables are empty, and no next hop is asked who exists.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import trio

from edgerelay.assembly import asking
from edgerelay.config.values import Config
from edgerelay.dns.answer import Resolver
from edgerelay.dns.caching import CachingResolver
from edgerelay.dns.upstream import DnspythonUpstream
from edgerelay.edge.boundary import Refused
from edgerelay.edge.limits import ClientLimits
from edgerelay.edge.policing import Judgement, Policing, Refusal
from edgerelay.edge.replies import OK, at_the_door
from edgerelay.edge.shared import Shared
from edgerelay.edge.transaction import MailTransaction
from edgerelay.mail.address import ForwardPath, ReversePath
from edgerelay.mail.envelope import Envelope, Recipient
from edgerelay.mail.reply import Reply
from edgerelay.observe.events import Event
from edgerelay.pipeline.plan import Plan
from edgerelay.pipeline.policies import NotOpened, Policies, open_policies
from edgerelay.pipeline.records import Answered, Cut
from edgerelay.pipeline.services import RelayServices
from edgerelay.pipeline.settings import Mode, PolicySettings
from edgerelay.policy import Defer, Discard, Hold, Reject, Session, Stage
from edgerelay.relay.hosts_file import HostsFile
from edgerelay.relay.recipients import RecipientCheck
from edgerelay.relay.routing import LaneSpec, Router
from edgerelay.runtime import Clock, in_thread
from edgerelay.smtp.data import DataReader
from edgerelay.smtp.events import EndOfData
from edgerelay.spool import open_memory_spool
from edgerelay.tables import MemoryTables, Tables

_PIECE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried. ``content`` has CRLF at the end of each line."""

    client: IPv4Address | IPv6Address
    helo: str
    reverse_path: ReversePath
    forward_paths: tuple[ForwardPath, ...]
    content: bytes


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one recipient: the reply, at which stage, and whose word it was.

    ``policy`` "": no policy's. ``why`` is for the operator.
    """

    outcome: str  #: "accepted", "held", "discarded", "deferred", "rejected", "reported"
    stage: Stage
    reply: Reply
    policy: str = ""
    why: str = ""


@dataclass(slots=True)
class Findings:
    """What was seen of a trial; `edgerelay.cli.trial_report` puts it into words."""

    trial: Trial
    plan: Plan
    is_trusted: bool
    traces: list[Answered | Cut] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    #: Each stage that was reached, with whom it was about at RCPT.
    reached: list[tuple[Stage, ForwardPath | None]] = field(default_factory=list)
    fates: dict[ForwardPath, Fate] = field(default_factory=dict)
    judgement: Judgement | None = None  #: None: the message was not taken, or not even read
    seconds: float = 0.0  #: until the last reply


async def attempt(
    config: Config,
    trial: Trial,
    *,
    clock: Clock = time.time,  # noqa: TID251 - the real clock of a command
    upstream: Resolver | None = None,
) -> Findings | NotOpened:
    """Try it; if a policy cannot be opened there is nothing to try."""
    events: list[Event] = []
    async with AsyncExitStack() as stack:
        questions = await stack.enter_async_context(trio.open_nursery())
        stack.callback(questions.cancel_scope.cancel)
        resolver = CachingResolver(
            upstream or DnspythonUpstream(config.dns_servers, timeout=config.dns_timeout),
            questions,
            timeout=config.dns_timeout,
            observer=events.append,
        )
        tables, hosts = MemoryTables(clock), HostsFile(in_thread)

        def lend(settings: PolicySettings) -> RelayServices:
            return RelayServices(
                settings.name,
                observed=settings.mode is Mode.OBSERVE,
                hostname=config.hostname,
                resolver=resolver,
                tables=tables,
                clock=clock,
                observer=events.append,
                hosts=hosts,
            )

        try:
            policies = await stack.enter_async_context(
                open_policies(config.policies, lend, events.append)
            )
        except NotOpened as error:
            return error
        shared = await _shared(config, policies, tables, events, clock, stack)
        findings = Findings(
            trial,
            policies.plan_for(trial.client),
            shared.may_relay(str(trial.client)),
            events=events,
        )
        await _Attempt(shared, findings, config.listeners[0].name).run()
    return findings


async def _shared(
    config: Config,
    policies: Policies,
    tables: Tables,
    events: list[Event],
    clock: Clock,
    stack: AsyncExitStack,
) -> Shared:
    """What a session needs: a spool that is never committed to, recipients unasked."""
    spool = await stack.enter_async_context(open_memory_spool(clock=clock, observer=events.append))
    check = RecipientCheck(Router(config.relay()), tables, _nobody_asks, events.append, clock)
    settings = config.edge()
    limits = ClientLimits(settings)
    return Shared(
        settings, spool, asking(check), events.append, clock, limits, policies, ", ".join
    )


async def _nobody_asks(lane: LaneSpec, forward_path: ForwardPath) -> Reply:
    """A trial calls no next hop: whoever could only be asked there is taken to exist."""
    return OK


class _Attempt:
    """The client's half of a conversation, and what it hears."""

    def __init__(self, shared: Shared, findings: Findings, listener: str) -> None:
        self._shared, self._findings, self._trial = shared, findings, findings.trial
        self._session = Session(
            client=findings.trial.client,
            token=shared.new_token(),
            listener=listener,
            is_trusted=findings.is_trusted,
        )

    async def run(self) -> None:
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            police = Policing(
                self._shared,
                self._findings.plan,
                self._session,
                nursery,
                lambda: None,  # whoever holds us up holds up nobody else
                self._findings.traces.append,
            )
            # Trusted with this alone: what is tried often comes from its recipient's mailbox, and
            # its Delivered-To says so.
            transaction = MailTransaction(self._shared, self._envelope(), started, trusted=True)
            try:
                if await self._is_let_in(police) and await self._has_recipients(
                    police, transaction
                ):
                    await self._send(police, transaction)
            finally:
                transaction.close()
            self._findings.seconds = trio.current_time() - started
            police.quit()  # those in observe mode may finish

    def _envelope(self) -> Envelope:
        trial = self._trial
        mailboxes = [trial.reverse_path.mailbox, *(path.mailbox for path in trial.forward_paths)]
        needs_utf8 = any(mailbox and not mailbox.is_ascii for mailbox in mailboxes)
        return Envelope(trial.reverse_path, smtputf8=needs_utf8)

    async def _is_let_in(self, police: Policing) -> bool:
        """Connect, EHLO, MAIL: refused here only without ``delay_reject``."""
        session = replace(self._session, helo=self._trial.helo, is_extended=True)
        stages = (
            (Stage.CONNECT, police.connect),
            (Stage.EHLO, lambda: police.hello(session)),
            (Stage.MAIL, lambda: police.mail(self._envelope())),
        )
        for stage, ask in stages:
            self._findings.reached.append((stage, None))
            refusal = await ask()
            if refusal is not None:
                if stage is Stage.CONNECT:
                    hostname = self._shared.settings.hostname
                    refusal = replace(refusal, reply=at_the_door(hostname, refusal.reply))
                for path in self._trial.forward_paths:
                    self._refuse(path, stage, refusal)
                return False
        return True

    async def _has_recipients(self, police: Policing, transaction: MailTransaction) -> bool:
        for path in self._trial.forward_paths:
            answer = await self._shared.recipients(
                path, self._trial.reverse_path, trusted=self._findings.is_trusted
            )
            if isinstance(answer, Refused):
                self._refuse(path, Stage.RCPT, Refusal(answer.reply, ""))
                continue
            self._findings.reached.append((Stage.RCPT, path))
            refusal = await police.rcpt(path)
            if refusal is not None:
                self._refuse(path, Stage.RCPT, refusal)
            else:
                transaction.add(Recipient(path), answer)
        return transaction.recipients > 0

    async def _send(self, police: Policing, transaction: MailTransaction) -> None:
        reply = await self._transfer(transaction)
        message = reply or await transaction.read()
        if isinstance(message, Reply):
            return self._refuse_rest(Refusal(message, ""))
        self._findings.reached.append((Stage.MESSAGE, None))
        judgement = await police.message(message, transaction.forward_paths)
        if isinstance(judgement, Refusal):
            return self._refuse_rest(judgement)
        self._findings.judgement = judgement
        for path in transaction.forward_paths:
            self._findings.fates[path] = _fate(path, judgement)

    async def _transfer(self, transaction: MailTransaction) -> Reply | None:
        """Send the content as a client would; the value is what is wrong with its form."""
        settings = self._shared.settings
        reader = DataReader(
            settings.message_size, reject_long_lines=settings.long_lines == "reject"
        )
        transaction.open_content()
        for piece in _on_the_wire(self._trial.content):
            content, _ = reader.feed(piece)
            await transaction.receive(content)
        return transaction.refusal(EndOfData(reader.problem, reader.size))

    def _refuse(self, path: ForwardPath, stage: Stage, refusal: Refusal) -> None:
        outcome = "deferred" if refusal.reply.is_transient else "rejected"
        self._findings.fates[path] = Fate(outcome, stage, refusal.reply, refusal.policy)

    def _refuse_rest(self, refusal: Refusal) -> None:
        for path in self._trial.forward_paths:
            if path not in self._findings.fates:
                self._refuse(path, Stage.MESSAGE, refusal)


def _on_the_wire(content: bytes) -> Iterator[bytes]:
    """Dots stuffed (RFC 5321 section 4.5.2), with the final one, in pieces."""
    octets = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
    for start in range(0, len(octets), _PIECE):
        yield octets[start : start + _PIECE]


def _fate(path: ForwardPath, judgement: Judgement) -> Fate:
    """Of one for whom the message was taken, as `edgerelay.edge.transaction` commits it."""
    policy = judgement.deciders.get(path, "")
    match judgement.verdicts.get(path):
        case Hold(reason):
            return Fate("held", Stage.MESSAGE, OK, policy, reason)
        case Discard(reason):
            return Fate("discarded", Stage.MESSAGE, OK, policy, reason)
        case Reject(reply):
            why = "others were accepted, so the sender gets a report"
            return Fate("reported", Stage.MESSAGE, reply, policy, why)
        case Defer(reply):
            why = f"others were accepted, so not deferred with {reply}"
            return Fate("accepted", Stage.MESSAGE, OK, policy, why)
        case _:
            return Fate("accepted", Stage.MESSAGE, OK, policy)
