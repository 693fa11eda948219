"""One policy, asked by the real pipeline what a relay would ask it, and its answer as a value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio

from edgerelay.dns.caching import CachingResolver
from edgerelay.mail.address import NULL_REVERSE_PATH, ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import Envelope
from edgerelay.observe.events import Event
from edgerelay.pipeline import (
    Conversation,
    Outcome,
    PolicySettings,
)
from edgerelay.pipeline.loading import at_hand, problems
from edgerelay.pipeline.message import read_message
from edgerelay.pipeline.policies import Policies, open_policies
from edgerelay.policy import (
    CONTINUE,
    DECISIVE,
    Defer,
    Edit,
    Evidence,
    MessageVerdict,
    PerRecipient,
    Policy,
    Reject,
    Resolver,
    Services,
    Session,
    Stage,
    Verdict,
)
from edgerelay.tables.memory import MemoryTables
from edgerelay.testing.literal_dns import LiteralResolver, Zone
from edgerelay.testing.noting import GIVEN, POLICY, Answers, giver, watched
from edgerelay.testing.services import Address, Logged, MemoryServices, Scanner
from edgerelay.testing.usual import HOSTNAME, MESSAGE
from edgerelay.testing.virtual_time import START, WallClock

_DNS_TIMEOUT: Final = 5.0  #: seconds, as in a relay without [dns]

EvidenceT = TypeVar("EvidenceT", bound=Evidence)


class PolicyHarness:
    """``async with PolicyHarness(Greylisting, options={"delay": "5m"}) as policy:``

    ``options`` are written as in the configuration file, and checked as there: ValueError says
    what is wrong with them. ``zone`` is all of the DNS, ``given`` is evidence that some other
    policy would publish, ``scanners`` answer at the addresses that `Services.connect` may
    reach. ``start`` is the wall clock's time when the block begins; it goes on with Trio's
    clock, so a test that lets time pass wants ``autojump_clock``. ``resolver`` takes the place
    of ``zone`` for a DNS that no zone can describe.

    Ask one stage after the other, as an SMTP session comes to them; a stage that was left out
    is asked with what it has for defaults. What is returned is what the policy said, or what
    an earlier stage has decided already. A policy that fails raises `PolicyFailed`.
    """

    def __init__(
        self,
        policy_class: type[Policy[Any]],
        *,
        options: Mapping[str, object] | None = None,
        zone: Zone | None = None,
        resolver: Resolver | None = None,
        given: Sequence[Evidence] = (),
        scanners: Mapping[Address, Scanner] | None = None,
        start: float | datetime = START,
        timeout: float = 20.0,
        hostname: str = HOSTNAME,
    ) -> None:
        self.policy_class: Final = policy_class
        self.questions: list[tuple[str, str]] = []  #: asked of the DNS, each once
        self.events: list[Event] = []
        #: Evidence that the policy published for the stage asked last, and those before.
        self.published: tuple[Evidence, ...] = ()
        #: What it would change of the message, by the verdict given last.
        self.edits: tuple[Edit, ...] = ()
        self._settings = _settings(dict(options or {}), given, timeout)
        self._record = Answers()
        self._known = {
            POLICY: watched(policy_class, self._record.note_error),
            GIVEN: giver(given),
        }
        with at_hand(self._known):
            found = problems(self._settings)
        if found:
            raise ValueError("; ".join(_told(problem.key, problem.text) for problem in found))
        self._zone, self._resolver = dict(zone or {}), resolver
        self._scanners = dict(scanners or {})
        self._start, self._hostname = start, hostname
        self._stack = AsyncExitStack()
        self._session = Session(ip_address("192.0.2.1"), "TEST")
        self._conversation: Conversation | None = None
        self._stage = Stage.CONNECT
        self._recipients = 0

    async def __aenter__(self) -> Self:
        self.now = WallClock(self._start)  #: the wall clock: seconds since the epoch
        try:
            await self._assemble()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The block's own exception goes its way: a nursery would wrap it in a group.
        await self._close()

    # --- one stage after the other ---------------------------------------------------------

    async def connect(
        self,
        client: str = "192.0.2.1",
        *,
        listener: str = "0.0.0.0:25",
        is_trusted: bool = False,
        is_authenticated: bool = False,
        tls: str = "",
        tls_client_name: str = "",
    ) -> Verdict:
        """Begin a session; the one before is over. ``client`` "" is a Unix socket."""
        self.quit()
        self._session = Session(
            _address(client),
            "TEST",
            listener=listener,
            is_trusted=is_trusted,
            is_authenticated=is_authenticated,
            tls=tls,
            tls_client_name=tls_client_name,
        )
        self._conversation, self._stage = self._begin(), Stage.CONNECT
        return _simple(await self._said(self._open().connect().outcome(), None))

    async def ehlo(
        self, helo: str = "client.example", *, is_extended: bool = True, tls: str | None = None
    ) -> Verdict:
        """Say EHLO, or HELO. ``tls`` "" or a version and cipher, if that has changed."""
        await self._reach(Stage.CONNECT)
        self._session = replace(
            self._session,
            helo=helo,
            is_extended=is_extended,
            tls=self._session.tls if tls is None else tls,
        )
        self._stage = Stage.EHLO
        return _simple(await self._said(self._open().ehlo(self._session).outcome(), None))

    async def mail(self, mail_from: str | Envelope = "ann@sender.example") -> Verdict:
        """Begin a transaction. "" is the null reverse-path; an Envelope has the parameters."""
        await self._reach(Stage.EHLO)
        self._stage, self._recipients = Stage.MAIL, 0
        return _simple(await self._said(self._open().mail(_envelope(mail_from)).outcome(), None))

    async def rcpt(self, rcpt_to: str = "bob@example.com") -> Verdict:
        """Name a recipient: it counts for the message unless the policy refuses it."""
        await self._reach(Stage.MAIL)
        self._stage = Stage.RCPT
        path = _forward_path(rcpt_to)
        verdict = _simple(await self._said(self._open().rcpt(path), path))
        if not isinstance(verdict, Defer | Reject):
            self._recipients += 1
            self._open().accepted(path, self._outcome)
        return verdict

    async def message(self, content: bytes = MESSAGE, *, in_memory: bool = True) -> MessageVerdict:
        """Send the content, CRLF and all; the transaction is over then.

        ``in_memory=False`` is how a large one comes: its body is to be read in pieces.
        """
        if not self._recipients:
            await self.rcpt()
        self._stage, self._recipients = Stage.MESSAGE, 0
        message = await read_message(_Literal(content, in_memory))
        return await self._said(self._open().message(message), None)

    async def ask(
        self,
        *,
        client: str = "192.0.2.1",
        helo: str = "client.example",
        mail_from: str | Envelope = "ann@sender.example",
        rcpt_to: str = "bob@example.com",
        message: bytes = MESSAGE,
        in_memory: bool = True,
        session: Mapping[str, Any] | None = None,
    ) -> MessageVerdict:
        """Go through a session with one message, and return the first verdict that decides.

        If none does, it is that of the message. ``session`` has further arguments of
        `connect`, such as ``is_trusted``.
        """
        stages: tuple[Callable[[], Awaitable[Verdict]], ...] = (
            lambda: self.connect(client, **(session or {})),
            lambda: self.ehlo(helo),
            lambda: self.mail(mail_from),
            lambda: self.rcpt(rcpt_to),
        )
        for stage in stages:
            verdict = await stage()
            if isinstance(verdict, DECISIVE):
                return verdict
        return await self.message(message, in_memory=in_memory)

    def reset(self) -> None:
        """End the transaction: RSET."""
        if self._conversation is not None:
            self._conversation.reset()
            self._stage, self._recipients = min(self._stage, Stage.EHLO), 0

    def quit(self) -> None:
        """End the session: QUIT. The next stage that is asked begins another."""
        if self._conversation is not None:
            self._conversation.quit()
            self._conversation, self._recipients = None, 0

    # --- what else it did ------------------------------------------------------------------

    @property
    def logged(self) -> list[Logged]:
        """What it wrote for the operator."""
        return self._services.logged

    @property
    def writes(self) -> int:
        """How often it has changed a table."""
        return self._services.written

    def published_of(self, kind: type[EvidenceT]) -> EvidenceT:
        """The evidence of that kind in `published`. Raises LookupError."""
        for evidence in self.published:
            if isinstance(evidence, kind):
                return evidence
        raise LookupError(f"no {kind.__name__} was published")

    @property
    def tasks(self) -> int:
        """Tasks at work for the sessions of this harness at this moment."""
        return len(self._nursery.child_tasks)

    # --- the parts -------------------------------------------------------------------------

    async def _assemble(self) -> None:
        stack = self._stack
        self._nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(self._nursery.cancel_scope.cancel)
        services = await stack.enter_async_context(trio.open_nursery())
        stack.callback(services.cancel_scope.cancel)
        literal = LiteralResolver(self._zone)
        self.questions = literal.asked
        upstream = self._resolver or literal
        self._services = MemoryServices(
            hostname=self._hostname,
            dns=CachingResolver(upstream, services, timeout=_DNS_TIMEOUT),
            now=self.now,
            tables=MemoryTables(self.now),
            scanners=self._scanners,
            nursery=services,
        )
        with at_hand(self._known):
            self._policies: Policies = await stack.enter_async_context(
                open_policies(self._settings, self._services_for, self.events.append)
            )

    def _services_for(self, settings: PolicySettings) -> Services:
        return self._services

    async def _close(self) -> None:
        self._conversation = None
        await self._stack.__aexit__(None, None, None)

    async def _reach(self, stage: Stage) -> None:
        """Go through the stages up to this one that nobody asked."""
        if self._conversation is None:
            await self.connect()
        if stage >= Stage.EHLO and self._stage < Stage.EHLO:
            await self.ehlo()
        if stage >= Stage.MAIL and self._stage not in (Stage.MAIL, Stage.RCPT):
            await self.mail()

    def _begin(self) -> Conversation:
        return Conversation(
            self._policies.plan_for(self._session.client),
            self._nursery,
            self._session,
            self._record.note_failure,
            watchdog=self._policies.watchdog,
            trace=self._record.note_answer,
        )

    def _open(self) -> Conversation:
        if self._conversation is None:
            raise RuntimeError("no session has begun")
        return self._conversation

    async def _said(
        self, outcome: Awaitable[Outcome], subject: ForwardPath | None
    ) -> MessageVerdict:
        record = self._record
        record.begin(self._stage)
        self._outcome = came = await outcome
        self.edits = came.edits
        self.published = tuple(
            evidence for evidence in came.evidence if type(evidence) in self.policy_class.provides
        )
        record.raise_failure()
        if record.answer is not None:
            return record.answer
        if self._stage is Stage.MESSAGE:
            paths = {path: one for path, one in came.verdicts.items() if path is not None}
            alike = set(map(type, paths.values()))
            return PerRecipient(paths) if len(alike) > 1 else next(iter(paths.values()), CONTINUE)
        return came.verdicts.get(subject, CONTINUE)


class _Literal:
    """A content that is there already: `edgerelay.pipeline.message.ReadableContent`."""

    def __init__(self, content: bytes, in_memory: bool) -> None:
        self._content, self._in_memory = content, in_memory
        self.size = len(content)

    def whole(self) -> bytes | None:
        return self._content if self._in_memory else None

    async def read(self, offset: int, length: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._content[offset : offset + length]


def _settings(
    options: Mapping[str, object], given: Sequence[Evidence], timeout: float
) -> list[PolicySettings]:
    asked = PolicySettings(use=POLICY, name=POLICY, timeout=timeout, options=options)
    return [PolicySettings(use=GIVEN, name=GIVEN), asked] if given else [asked]


def _told(key: Sequence[str | int], text: str) -> str:
    return f"{'.'.join(map(str, key))}: {text}" if key else text


def _simple(verdict: MessageVerdict) -> Verdict:
    if isinstance(verdict, PerRecipient):
        raise TypeError("only a message has verdicts per recipient")
    return verdict


def _address(client: str) -> IPv4Address | IPv6Address | None:
    return ip_address(client) if client else None


def _envelope(mail_from: str | Envelope) -> Envelope:
    if isinstance(mail_from, Envelope):
        return mail_from
    path = ReversePath(Mailbox.from_text(mail_from)) if mail_from else NULL_REVERSE_PATH
    return Envelope(path, smtputf8=not mail_from.isascii())


def _forward_path(rcpt_to: str) -> ForwardPath:
    return ForwardPath(Mailbox.from_text(rcpt_to))
