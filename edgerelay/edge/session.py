"""One connection, from the first octet to the last: events in, replies out.

What octets mean is `edgerelay.smtp`'s, what mail becomes `MailTransaction`'s; here is who
waits for whom, for how long, and how it ends. Each wait has the transport's deadline.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, TypeVar

import trio

from edgerelay.edge import replies
from edgerelay.edge.admission import Place, identify
from edgerelay.edge.boundary import Refused as RecipientIsRefused
from edgerelay.edge.client import Client
from edgerelay.edge.limits import Admission
from edgerelay.edge.policing import Judgement, Policing, Refusal
from edgerelay.edge.proxy import ProxyError
from edgerelay.edge.record import Record
from edgerelay.edge.settings import ListenerSettings, ListenerTls
from edgerelay.edge.shared import Shared
from edgerelay.edge.transaction import NO_JUDGEMENT, Committed, MailTransaction
from edgerelay.mail.address import ReversePath
from edgerelay.mail.envelope import ClientFacts
from edgerelay.mail.reply import Reply
from edgerelay.mail.trace import protocol_name
from edgerelay.net.transport import DeadlinePassed, Transport, TransportError
from edgerelay.observe.escape import escape
from edgerelay.pipeline.plan import Plan
from edgerelay.policy import Session as PolicySession
from edgerelay.smtp.events import (
    DataChunk,
    EndOfData,
    Event,
    Expand,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Refused,
    Reset,
    StartData,
    StartTls,
    Verify,
)
from edgerelay.smtp.extensions import Extensions
from edgerelay.smtp.server import ServerProtocol

#: Seconds for a TLS handshake.
TLS_TIMEOUT: Final = 30.0
#: Seconds for a peer to take our last words.
_FAREWELL: Final = 2.0
#: So many commands of one pipelined group are answered before others have their turn.
_TURN: Final = 64
#: Seconds that a pipelined group's replies may wait for one that policies take long over.
_PROMPT: Final = 1.0

T = TypeVar("T")


class _EndedError(Exception):
    """The session is to end with a 421; ``why`` is a key of its texts."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Session:
    """`run` is all there is to do with it; `stop` may be called from elsewhere."""

    __slots__ = (
        "_beside",
        "_end",
        "_extended",
        "_is_deaf",
        "_is_late",
        "_listener",
        "_place",
        "_policing",
        "_protocol",
        "_record",
        "_said",
        "_shared",
        "_transaction",
        "_transport",
        "_trusted",
    )

    def __init__(self, shared: Shared, transport: Transport, listener: ListenerSettings) -> None:
        self._shared = shared
        self._transport = transport
        self._listener = listener
        peer = Client.from_peer(transport.peer)
        self._record = Record(shared.observer, shared.new_token(), listener.name, peer)
        self._place: Place | None = None
        self._trusted = False
        self._protocol = self._new_protocol()
        self._transaction: MailTransaction | None = None
        self._said: list[bytes] = []  # replies of a pipelined group, for one write
        self._extended = False
        self._end = ""
        self._policing: Policing | None = None
        self._beside: trio.Nursery | None = None  # where policies work
        self._is_deaf = False  # refused before the greeting: QUIT is all that is left
        self._is_late = False  # what was answered had to wait, and so did its client

    def stop(self) -> None:
        """Wake a client that has no transaction: it is to hear 421."""
        if self._transaction is None:
            # Whoever is about to wait, but does not yet, is found by the reaper.
            self._transport.deadline = trio.current_time()
            self._transport.expire()

    async def run(self) -> None:
        """Serve until the end. Raises nothing but Cancelled."""
        try:
            await self._serve()
        except trio.Cancelled:
            self._end = "shutdown"
            with trio.move_on_after(_FAREWELL, shield=True):
                await self._farewell("shutdown")
            raise
        finally:
            self._end_transaction()
            await self._hang_up()
            self._record.end(self._end or "lost", str(self._transport.tls or ""))

    async def _serve(self) -> None:
        try:
            rest = await self._open()
            if rest is not None:
                plan = self._shared.policies.plan_for(self._record.client.address)
                if plan.is_empty:
                    await self._converse(rest)
                else:
                    await self._converse_policed(rest, plan)
        except Exception as error:  # one escaped exception would end every session
            await self._conclude(error)

    async def _conclude(self, error: BaseException) -> None:
        """Note how it ends, and tell a client that may still hear it."""
        match error:
            case _EndedError():
                self._end = error.why
            case DeadlinePassed():
                self._end = "shutdown" if self._shared.stopping else "timeout"
            case TransportError():
                self._end = self._end or "lost"
                return
            case _:
                self._end = "trouble"
                self._record.fail(error)
        await self._farewell(self._end)

    async def _hang_up(self) -> None:
        """Close; another connection of the same client may have its place. Idempotent."""
        # After QUIT nothing more can come: nothing to wait for.
        await self._transport.aclose(linger=self._end != "quit")
        if self._place is not None:
            self._place.leave()

    async def _converse_policed(self, rest: bytes, plan: Plan) -> None:
        """Converse with policies at work beside it, all in a nursery of this session's own.

        Whatever they do to that nursery ends here, with the socket outside of it: the client
        hears 421. A client is never kept waiting for them to let go, nor is its place.
        """
        try:
            async with trio.open_nursery() as self._beside:
                # In a task of its own: a scope or nursery that a policy leaves open in it is
                # an error of that task, and would be one of this task otherwise.
                self._beside.start_soon(self._converse_beside, rest, plan, self._beside)
        except BaseExceptionGroup as group:
            if group.subgroup(KeyboardInterrupt):
                raise
            errors = group.split(trio.Cancelled)[1]
            if errors is not None:
                await self._conclude(errors)
            # A cancellation from outside goes on, as what it is.
            await trio.lowlevel.checkpoint_if_cancelled()
        finally:
            self._policing = self._beside = None

    async def _converse_beside(self, rest: bytes, plan: Plan, nursery: trio.Nursery) -> None:
        session = self._as_policies_see_it("")
        self._policing = Policing(self._shared, plan, session, nursery, self._on_stuck)
        try:
            await self._converse(rest, await self._wait_for(self._policing.connect()))
        except Exception as error:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):  # what is said and closed is bounded
                await self._conclude(error)
                await self._hang_up()
        self._end_transaction()
        if self._end == "quit":
            # Those who only observe may finish.
            await self._hang_up()
            self._policing.quit()
        else:
            nursery.cancel_scope.cancel()

    async def _wait_for(self, answer: Awaitable[T]) -> T:
        """Let policies answer; a client that goes away meanwhile ends all of it."""
        transport, now = self._transport, self._record.now
        started = now()
        # Who has sent more than this already, a QUIT perhaps, may have sent all and still read.
        transport.attend(self._on_lost, may_end=not self._protocol.is_drained)
        try:
            return await answer
        finally:
            transport.unattend()
            answered = now()
            # The client's time to hear the answer begins with the answer.
            transport.deadline = answered + self._shared.settings.command_timeout
            if answered - started > _PROMPT:
                self._is_late = True

    def _on_lost(self) -> None:
        self._end = "lost"
        self._end_beside()

    def _on_stuck(self) -> None:
        if self._beside is not None:
            self._beside.start_soon(self._give_up)

    async def _give_up(self) -> None:
        """A policy keeps our own task: say good-bye from another one, and hang up."""
        self._end = "trouble"
        await self._farewell("trouble")
        await self._hang_up()
        self._end_beside()

    def _end_beside(self) -> None:
        if self._beside is not None:
            self._beside.cancel_scope.cancel()

    def _as_policies_see_it(self, helo: str) -> PolicySession:
        record = self._record
        return PolicySession(
            client=record.client.address if record.client.named else None,
            token=record.token,
            listener=record.listener,
            helo=helo,
            is_extended=self._extended,
            tls=str(self._transport.tls or ""),
            is_trusted=self._trusted,
        )

    async def _farewell(self, why: str) -> None:
        self._transport.deadline = trio.current_time() + _FAREWELL
        reply = replies.last_words(self._shared.settings.hostname, why)
        # What was answered but not sent yet goes first: above all the 250 of a commit.
        self._said.append(bytes(replies.signed(reply, self._record.token)))
        with contextlib.suppress(TransportError):  # nobody hears it
            await self._transport.send(self._take_said())

    async def _open(self) -> bytes | None:
        """Return what the client has said already, or None if it is not to be answered."""
        try:
            client, rest = await identify(self._record.client, self._transport, self._listener)
        except (ProxyError, TransportError):
            self._end = "no proxy header"
            return None
        shared, self._record.client = self._shared, client
        self._place = Place(shared.limits, client, self._record.now())
        implicit = self._listener.tls is ListenerTls.IMPLICIT
        if self._place.admission is not Admission.ADMITTED:
            if not implicit:
                raise _EndedError(self._place.admission.value)
            self._end = self._place.admission.value
            return None
        self._trusted = client.named and shared.may_relay(client.host.text)
        if implicit:
            await self._handshake()
        return rest

    async def _handshake(self) -> None:
        context = self._listener.tls_context
        if context is None:
            raise RuntimeError("a listener with TLS has no certificate")
        self._transport.deadline = trio.current_time() + TLS_TIMEOUT
        self._end = "tls"  # should it fail
        await self._transport.start_tls(context, server_side=True)
        self._end = ""

    async def _converse(self, data: bytes, refusal: Refusal | None = None) -> None:
        transport, protocol, said = self._transport, self._protocol, self._said
        said.append(protocol.send(self._first_words(refusal)))
        while True:
            if data:
                protocol.receive_data(data)
                await self._answer()
            if said:
                await transport.send(self._take_said())
            if self._end:
                return
            transport.deadline = self._next_deadline()
            data = await transport.receive()
            if not data:
                return
            self._record.octets += len(data)

    def _first_words(self, refusal: Refusal | None) -> Reply:
        """The greeting, or 554 (RFC 5321 section 3.1), or 421 for those who may come again."""
        if refusal is None:
            return replies.greeting(self._shared.settings.hostname)
        reply = replies.at_the_door(self._shared.settings.hostname, refusal.reply)
        self._is_deaf = True
        return self._refused_by(refusal, "connect", reply)

    async def _answer(self) -> None:
        """Answer all that has come, the replies of a pipelined group with one write."""
        protocol, said = self._protocol, self._said
        while (event := protocol.next_event()) is not None:
            if type(event) is DataChunk:
                await self._open_transaction().receive(event.data)
                continue
            handle = Session._on_deaf if self._is_deaf else _HANDLERS[type(event)]
            answer = handle(self, event)
            said.append(protocol.send(answer if isinstance(answer, Reply) else await answer))
            if type(event) is StartTls:
                await self._secure()
            elif len(said) >= _TURN or self._is_late:
                self._is_late = False
                await self._transport.send(self._take_said())
                await trio.lowlevel.checkpoint()

    def _take_said(self) -> bytes:
        said = self._said
        octets = said[0] if len(said) == 1 else b"".join(said)
        said.clear()
        return octets

    def _next_deadline(self) -> float:
        """Until when the client may stay silent. Raises if it is to say nothing more."""
        settings, now, transaction = self._shared.settings, self._record.now(), self._transaction
        if transaction is None:
            # Only here may a session end that has done nothing wrong.
            if self._shared.stopping:
                raise _EndedError("shutdown")
            if now - self._record.started >= settings.session_timeout:
                raise _EndedError("too long")
        elif transaction.is_receiving:
            return now + settings.data_timeout
        return now + settings.command_timeout

    async def _secure(self) -> None:
        await self._transport.send(self._take_said())
        await self._handshake()
        self._protocol.tls_started()
        self._record.helo = ""

    def _on_deaf(self, event: Event) -> Reply:
        if isinstance(event, Quit):
            return self._on_quit(event)
        self._record.errors += 1
        return self._within_budget(replies.NO_SERVICE)

    def _on_hello(self, event: Hello) -> Reply | Awaitable[Reply]:
        self._end_transaction()
        self._record.helo = escape(event.name)
        self._extended = event.verb == "EHLO"
        return self._hello() if self._policing is None else self._hello_policed(event)

    async def _hello_policed(self, event: Hello) -> Reply:
        session = self._as_policies_see_it(event.name)
        refusal = await self._wait_for(self._police.hello(session))
        return self._hello() if refusal is None else self._refused_by(refusal, "ehlo")

    def _hello(self) -> Reply:
        hostname = self._shared.settings.hostname
        return self._protocol.ehlo_reply(hostname) if self._extended else replies.hello(hostname)

    def _on_mail(self, event: Mail) -> Reply | Awaitable[Reply]:
        if not self._shared.has_room:
            return self._refuse("mail", replies.NO_ROOM, event.envelope.reverse_path)
        return self._mail(event) if self._policing is None else self._mail_policed(event)

    async def _mail_policed(self, event: Mail) -> Reply:
        refusal = await self._wait_for(self._police.mail(event.envelope))
        if refusal is not None:
            return self._refused_by(refusal, "mail", path=event.envelope.reverse_path)
        return self._mail(event)

    def _mail(self, event: Mail) -> Reply:
        self._transaction = MailTransaction(self._shared, event.envelope, self._record.now())
        return replies.MAIL_OK

    async def _on_rcpt(self, event: Rcpt) -> Reply:
        transaction, recipient = self._transaction, event.recipient
        if transaction is None:
            return self._out_of_order()
        if transaction.knows(recipient):
            return replies.RCPT_OK
        reverse_path, forward_path = transaction.envelope.reverse_path, recipient.forward_path
        if transaction.recipients >= self._shared.settings.recipients_per_message:
            reply = replies.TOO_MANY_RECIPIENTS
        else:
            answer = await self._shared.recipients(
                forward_path, reverse_path, trusted=self._trusted
            )
            if not isinstance(answer, RecipientIsRefused):
                # Policies are asked last: a stranger's address must leave no trace in a table.
                if self._policing is not None:
                    refusal = await self._wait_for(self._policing.rcpt(forward_path))
                    if refusal is not None:
                        return self._refused_by(
                            refusal, "rcpt", path=reverse_path, to=forward_path
                        )
                transaction.add(recipient, answer.lane)
                return replies.RCPT_OK
            reply = answer.reply
        if reply.is_permanent:
            self._record.errors += 1
        return self._refuse("rcpt", reply, reverse_path, forward_path)

    def _on_start_data(self, _: StartData) -> Reply:
        transaction = self._transaction
        if transaction is None:
            return self._out_of_order()
        if not self._shared.has_room:
            return self._refuse("data", replies.NO_ROOM, transaction.envelope.reverse_path)
        transaction.open_content()
        return replies.GO_AHEAD

    async def _on_end_of_data(self, event: EndOfData) -> Reply:
        transaction = self._open_transaction()
        judgement = await self._judge(transaction, event)
        if isinstance(judgement, Refusal):
            path = transaction.envelope.reverse_path
            self._end_transaction()
            return self._refused_by(judgement, "data", path=path)
        if isinstance(judgement, Reply):
            result: Committed | Reply = judgement
        else:
            # From here on the mail is ours or refused, whoever goes away meanwhile.
            with trio.CancelScope(shield=True):
                result = await transaction.commit(
                    event, self._facts(transaction), self._record.token, judgement
                )
        self._end_transaction()
        if not isinstance(result, Committed):
            return self._refuse("data", result, transaction.envelope.reverse_path)
        if result.is_kept:  # else its event says that it is dropped
            self._record.accept(result, transaction)
        return replies.queued(result.queue_id)

    async def _judge(
        self, transaction: MailTransaction, event: EndOfData
    ) -> Judgement | Refusal | Reply:
        """Ask the policies, as long as the client waits; who goes away meanwhile keeps it."""
        if (reply := transaction.refusal(event)) is not None:
            return reply
        if self._policing is None:
            if self._trusted:  # its results are our own house's
                return NO_JUDGEMENT
            return await transaction.without_forged_results()
        message = await transaction.read()
        if isinstance(message, Reply):
            return message
        asked = self._policing.message(message, transaction.forward_paths)
        judgement = await self._wait_for(asked)
        # A policy may have swallowed our cancellation. Who has heard 421, or is gone, sends the
        # message again: to take it now would double it.
        await trio.lowlevel.checkpoint_if_cancelled()
        return judgement

    def _on_reset(self, _: Reset) -> Reply:
        self._end_transaction()
        return replies.OK

    def _on_noop(self, _: Noop) -> Reply:
        return replies.OK

    def _on_verify(self, _: Verify) -> Reply:
        return replies.CANNOT_VERIFY

    def _on_expand(self, _: Expand) -> Reply:
        return replies.signed(replies.NOT_EXPANDED, self._record.token)

    def _on_help(self, _: Help) -> Reply:
        return replies.HELP

    def _on_quit(self, _: Quit) -> Reply:
        self._end = "quit"
        return replies.BYE

    def _on_start_tls(self, _: StartTls) -> Reply:
        return replies.TLS_READY

    def _on_refused(self, event: Refused) -> Reply:
        self._record.errors += 1
        if event.fatal:
            self._end = "protocol"
        return self._within_budget(event.reply)

    @property
    def _police(self) -> Policing:
        if self._policing is None:
            raise RuntimeError("there are no policies to ask")
        return self._policing

    def _refused_by(
        self,
        refusal: Refusal,
        command: str,
        reply: Reply | None = None,
        path: ReversePath | str = "",
        to: object = "",
    ) -> Reply:
        """A policy's word. Only a permanent one spends the session's budget of errors."""
        said = reply or refusal.reply
        if said.is_permanent:
            self._record.errors += 1
        self._record.refuse(command, said, path, to, refusal.policy)
        if said.code == 421:  # RFC 5321 section 3.8: it closes the channel, whoever says it
            self._end = "refused"
        return self._within_budget(said)

    def _refuse(self, command: str, reply: Reply, path: ReversePath, to: object = "") -> Reply:
        self._record.refuse(command, reply, path, to)
        return self._within_budget(reply)

    def _within_budget(self, reply: Reply) -> Reply:
        if self._record.errors > self._shared.settings.errors_per_session:
            self._end = "errors"
            reply = replies.last_words(self._shared.settings.hostname, "errors")
        return replies.signed(reply, self._record.token)

    def _out_of_order(self) -> Reply:
        """A refused EHLO leaves the protocol where it was, but has ended the transaction."""
        self._record.errors += 1
        return self._within_budget(replies.NO_TRANSACTION)

    def _open_transaction(self) -> MailTransaction:
        if self._transaction is None:
            raise RuntimeError("the protocol let a command pass that wants a transaction")
        return self._transaction

    def _end_transaction(self) -> None:
        if self._transaction is not None:
            self._transaction.close()
            self._transaction = None
            if self._policing is not None:
                self._policing.reset()

    def _new_protocol(self) -> ServerProtocol:
        listener, settings = self._listener, self._shared.settings
        starttls = listener.tls_context is not None and listener.tls in _STARTTLS
        return ServerProtocol(
            extensions=_offer(settings.message_size, starttls),
            postmaster=self._shared.postmaster,
            tls_required=listener.tls is ListenerTls.REQUIRED,
            long_lines=settings.long_lines,
        )

    def _facts(self, transaction: MailTransaction) -> ClientFacts:
        tls = self._transport.tls
        smtputf8 = transaction.envelope.smtputf8
        return ClientFacts(
            address=self._record.client.host.text,
            helo=self._record.helo,
            protocol=protocol_name(
                extended=self._extended, tls=tls is not None, smtputf8=smtputf8
            ),
            tls="" if tls is None else str(tls),
            trusted=self._trusted,
        )


@lru_cache(maxsize=64)
def _offer(size: int, starttls: bool) -> Extensions:
    return Extensions(size=size, starttls=starttls)


_STARTTLS: Final = (ListenerTls.STARTTLS, ListenerTls.REQUIRED)

_HANDLERS: Final[dict[type, Callable[[Session, Any], Reply | Awaitable[Reply]]]] = {
    Hello: Session._on_hello,
    Mail: Session._on_mail,
    Rcpt: Session._on_rcpt,
    StartData: Session._on_start_data,
    EndOfData: Session._on_end_of_data,
    Reset: Session._on_reset,
    Noop: Session._on_noop,
    Verify: Session._on_verify,
    Expand: Session._on_expand,
    Help: Session._on_help,
    Quit: Session._on_quit,
    StartTls: Session._on_start_tls,
    Refused: Session._on_refused,
}
