"""One connection, from the first octet to the last: who waits for whom, and how it ends.

What octets mean is `edgerelay.smtp`'s, what a command does `Commands`'s. Here is how long each
wait may be, which is the transport's deadline, and who is told what at the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from typing import Final, TypeVar

import trio

from edgerelay.edge import replies
from edgerelay.edge.admission import Place, identify
from edgerelay.edge.client import Client
from edgerelay.edge.commands import Commands
from edgerelay.edge.limits import Admission
from edgerelay.edge.policing import Policing, Refusal
from edgerelay.edge.proxy import ProxyError
from edgerelay.edge.record import Record
from edgerelay.edge.settings import ListenerSettings, ListenerTls
from edgerelay.edge.shared import Shared
from edgerelay.edge.transaction import MailTransaction
from edgerelay.mail.reply import Reply
from edgerelay.net.transport import DeadlinePassed, Transport, TransportError
from edgerelay.observe.escape import escape
from edgerelay.pipeline.plan import Plan
from edgerelay.smtp.events import (
    DataChunk,
    Event,
    Hello,
    StartChunk,
    StartData,
    XClient,
)
from edgerelay.smtp.server import ServerProtocol
from edgerelay.smtp.states import State

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


class Session(Commands):
    """`run` is all there is to do with it; `stop` may be called from elsewhere."""

    __slots__ = (
        "_beside",
        "_has_answered",
        "_has_teased",
        "_is_cut",
        "_is_hurried",
        "_is_late",
        "_is_listening",
        "_paid",
        "_paid_octets",
        "_place",
        "_said",
        "_since",
        "_spoken_for",
    )

    def __init__(self, shared: Shared, transport: Transport, listener: ListenerSettings) -> None:
        peer = Client.from_peer(transport.peer)
        record = Record(shared.observer, shared.new_token(), listener.name, peer)
        super().__init__(shared, transport, listener, record, _protocol(shared, listener))
        self._place: Place | None = None
        self._said: list[bytes] = []  # replies of a pipelined group, for one write
        self._beside: trio.Nursery | None = None  # where policies work
        self._is_late = False  # what was answered had to wait, and so did its client
        self._is_listening = False  # the client's turn
        self._is_hurried = False  # it has less time, for others wait for its place
        self._spoken_for: XClient | None = None  # somebody else, from now on
        self._has_teased = False
        self._is_cut = False  # a write of ours did not come to its end
        self._has_answered = True  # since we asked for more last
        self._since = record.started  # the client owes us a command, or content
        self._paid: float | None = None  # until when content has come fast enough
        self._paid_octets = 0  # `Record.octets` that are in it

    def stop(self) -> None:
        """Wake a client that has no transaction: it is to hear 421."""
        if self._transaction is None:
            # Whoever is about to wait, but does not yet, is found by the reaper.
            self._transport.deadline = trio.current_time()
            self._transport.expire()

    def hurry(self) -> None:
        """Wait no longer for this client than for those who speak from now on."""
        if self._is_listening:
            self._is_hurried = True
            patience = self._shared.patience
            soon = trio.current_time() + (patience.data if self._gets_octets else patience.command)
            self._transport.deadline = min(self._transport.deadline, soon)

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
            self._record.end(self._end or "lost", self._transport.tls)

    async def _serve(self) -> None:
        try:
            rest = await self._open()
            if rest is not None:
                rest = await self._tease(rest)
            while rest is not None:
                plan = self._shared.policies.plan_for(self._record.client.address)
                if plan.is_empty:
                    await self._converse(rest)
                else:
                    await self._converse_policed(rest, plan)
                rest = None
                if self._spoken_for is not None and not self._end:
                    self._begin_anew(self._spoken_for)
                    rest = b""
        except Exception as error:  # one escaped exception would end every session
            await self._conclude(error)

    async def _conclude(self, error: BaseException) -> None:
        """Note how it ends, and tell a client that may still hear it."""
        match error:
            case _EndedError():
                self._end = error.why
            case DeadlinePassed():
                self._end = self._why_late()
            case TransportError():
                self._end = self._end or "lost"
                return
            case _:
                self._end = "trouble"
                self._record.fail(error)
        await self._farewell(self._end)

    def _why_late(self) -> str:
        if self._shared.stopping:
            return "shutdown"
        return "stress" if self._is_hurried else "timeout"

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
            await self._conclude_group(group)
            # A cancellation from outside goes on, as what it is.
            await trio.lowlevel.checkpoint_if_cancelled()
        finally:
            self._policing = self._beside = None

    async def _conclude_group(self, group: BaseExceptionGroup) -> None:
        # Apart, since the frame that caught them must not hold them: see `step`.
        errors = group.split(trio.Cancelled)[1]
        if errors is not None:
            await self._conclude(errors)

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
            transport.deadline = answered + self._shared.patience.command
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
        self._end_beside()  # first: who has heard 421 sends again, so nothing is taken any more
        with trio.CancelScope(shield=True):  # what is said and closed is bounded
            await self._farewell("trouble")
            await self._hang_up()

    def _end_beside(self) -> None:
        if self._beside is not None:
            self._beside.cancel_scope.cancel()

    async def _farewell(self, why: str) -> None:
        if self._is_cut:  # nothing makes sense behind half a reply
            return
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
        admission = self._enter(client)
        implicit = self._listener.tls is ListenerTls.IMPLICIT
        if admission is not Admission.ADMITTED:
            if not implicit:
                raise _EndedError(admission.value)
            self._end = admission.value
            return None
        if implicit:
            await self._handshake()
        return rest

    async def _tease(self, said: bytes) -> bytes | None:
        """Begin the greeting, and see who cannot wait for its end (RFC 5321 section 4.3.1).

        Returns what was said already, or None if nobody is there any more.
        """
        delay, transport = self._listener.greet_delay, self._transport
        if not delay or self._may_be_hasty or transport.tls is not None:
            return said
        transport.deadline = trio.current_time() + _FAREWELL
        await transport.send(replies.tease(self._shared.settings.hostname))
        self._has_teased = True
        if not said:
            transport.deadline = trio.current_time() + delay
            try:
                said = await transport.receive()
            except DeadlinePassed:
                return b""
            if not said:
                return None
        self._too_early = replies.SPOKE_EARLY
        self._record.errors += 1
        self._record.octets += len(said)
        return said

    @property
    def _may_be_hasty(self) -> bool:
        """A machine of ours, or a proxy that has heard our replies before."""
        return self._trusted or self._record.client.is_in(self._listener.xclient_from)

    def _is_hasty(self, event: Event) -> bool:
        """More has come already, but the client was to wait for this one's reply.

        RFC 2920 section 3.1: commands in groups are for whom PIPELINING was offered, and EHLO
        and DATA are the last of their group.
        """
        if self._protocol.is_drained:
            return False
        return not self._extended or isinstance(event, Hello | StartData)

    def _enter(self, client: Client) -> Admission:
        """From now on it is this client's session, with its rights and no other's.

        A proxy that has said XCLIENT may hand on whatever its client says: if that could say
        XCLIENT again, it could be anybody.
        """
        shared, self._record.client = self._shared, client
        speaks_for_others = client.named and client.is_in(self._listener.xclient_from)
        self._protocol.offer_xclient(speaks_for_others)
        counted = client.unnamed() if speaks_for_others else client
        self._place = Place(shared.limits, counted, self._record.now())
        self._trusted = client.named and shared.may_relay(client.host.text)
        return self._place.admission

    def _begin_anew(self, said: XClient) -> None:
        """As if whom the proxy speaks for had just connected. Raises if it may not."""
        self._spoken_for = None
        self._end_transaction()
        self._record.helo = ""
        self._proxied, self._extended = said.attributes, False
        if self._place is not None:
            self._place.leave()
        admission = self._enter(self._record.client.behind_xclient(said.attributes))
        if admission is not Admission.ADMITTED:
            raise _EndedError(admission.value)

    async def _handshake(self) -> None:
        certificate = self._listener.certificate
        if certificate is None:
            raise RuntimeError("a listener with TLS has no certificate")
        self._transport.deadline = trio.current_time() + TLS_TIMEOUT
        self._end = "tls"  # should it fail
        try:
            await self._transport.start_tls(certificate.context, server_side=True)
        except TransportError as error:
            self._record.tls_failure = escape(str(error), 200)
            raise
        self._end = ""

    async def _converse(self, data: bytes, refusal: Refusal | None = None) -> None:
        transport, protocol, said = self._transport, self._protocol, self._said
        said.append(protocol.send(self._first_words(refusal)))
        if not protocol.is_drained:  # what came with XCLIENT
            await self._answer()
        while True:
            if data:
                protocol.receive_data(data)
                data = b""  # not kept while policies or the client take their time
                await self._answer()
                transaction = self._transaction
                if transaction is not None and transaction.is_receiving:
                    self._let_go_of_what_is_refused(transaction)
            if said:
                await self._send_said()
            if self._end or self._spoken_for is not None:
                return
            transport.deadline = self._next_deadline()
            self._is_listening = True
            data = await transport.receive()
            self._is_listening = False
            if not data:
                return
            self._record.octets += len(data)

    def _first_words(self, refusal: Refusal | None) -> Reply:
        """The greeting, or 554 (RFC 5321 section 3.1), or 421 for those who may come again."""
        hostname = self._shared.settings.hostname
        if refusal is None:
            return replies.greeting(hostname)
        self._is_deaf = True
        reply = self._refused_by(refusal, "connect", replies.at_the_door(hostname, refusal.reply))
        # All lines of a reply have one code: after 220- there is no way back.
        return replies.greeting(hostname) if self._has_teased and reply.code != 421 else reply

    async def _answer(self) -> None:
        """Answer all that has come, the replies of a pipelined group with one write."""
        protocol, said = self._protocol, self._said
        must_wait = self._listener.early_pipelining != "accept" and not self._may_be_hasty
        while (event := protocol.next_event()) is not None:
            if type(event) is DataChunk:
                if self._transaction is not None:  # else its refusal comes after its octets
                    await self._transaction.receive(event.data)
                continue
            if type(event) is StartChunk:
                self._start_chunk()
                continue
            self._has_answered = True
            if type(event) is XClient and not self._is_deaf:
                self._spoken_for = event  # and answered with a greeting, or less
                return
            is_hasty = must_wait and self._is_hasty(event)
            answer = self._answer_to(event)
            reply = answer if isinstance(answer, Reply) else await answer
            said.append(self._in_octets(reply) if self._each else protocol.send(reply))
            if is_hasty:
                self._let_haste_be_refused()
            if protocol.state is State.HANDSHAKE:
                await self._secure()
            elif len(said) >= _TURN or self._is_late:
                self._is_late = False
                await self._send_said()
                await trio.lowlevel.checkpoint()

    def _let_go_of_what_is_refused(self, transaction: MailTransaction) -> None:
        """Its reply comes at the end, but nobody keeps it until then."""
        problem = self._protocol.problem
        if problem is not None:
            transaction.doom(replies.PROBLEMS[problem])

    def _in_octets(self, reply: Reply) -> bytes:
        """With PRDR the replies for each recipient come first."""
        each, self._each = self._each, []
        return self._protocol.send_for_each(each, reply)

    def _let_haste_be_refused(self) -> None:
        self._too_early = replies.TOO_HASTY
        if self._transaction is not None and self._transaction.is_receiving:
            # At its end: a refusal of DATA would make commands of its content.
            self._transaction.doom(replies.TOO_HASTY)

    async def _send_said(self) -> None:
        self._is_cut = True
        await self._transport.send(self._take_said())
        self._is_cut = False

    def _take_said(self) -> bytes:
        said = self._said
        octets = said[0] if len(said) == 1 else b"".join(said)
        said.clear()
        return octets

    @property
    def _gets_octets(self) -> bool:
        """Content, between its chunks too, or a chunk that is thrown away."""
        transaction = self._transaction
        is_receiving = transaction is not None and transaction.is_receiving
        return is_receiving or self._protocol.is_receiving

    def _next_deadline(self) -> float:
        """Until when the client may stay silent. Raises if it is to say nothing more."""
        shared, now, transaction = self._shared, self._record.now(), self._transaction
        settings, patience = shared.settings, shared.patience
        self._is_hurried = patience.is_short
        if self._has_answered:
            self._has_answered = False
            self._since = now
        if transaction is None:
            # Only here may a session end that has done nothing wrong.
            if shared.stopping:
                raise _EndedError("shutdown")
            if now - self._record.started >= settings.session_timeout:
                raise _EndedError("too long")
        elif (
            # Who begins one after the other, or never goes on with it, ends as well.
            not transaction.is_receiving
            and now - self._record.started >= 2 * settings.session_timeout
        ):
            raise _EndedError("too long")
        if self._gets_octets:
            return min(now, self._paid_until(now)) + patience.data
        self._paid = None
        # An octet of a command is no command: who drips them has no more time than who is silent.
        return self._since + patience.command

    def _paid_until(self, now: float) -> float:
        """For so long the octets of this content pay that have come: they must come to so many a
        second, however they are spread. Nobody pays for more than one wait in advance."""
        settings, octets = self._shared.settings, self._record.octets
        if self._paid is None or not settings.min_data_rate:
            self._paid = now
        else:
            pays_for = (octets - self._paid_octets) / settings.min_data_rate
            self._paid = min(self._paid + pays_for, now + settings.data_timeout)
        self._paid_octets = octets
        return self._paid

    async def _secure(self) -> None:
        await self._send_said()
        await self._handshake()
        self._protocol.tls_started()
        self._record.helo = ""


def _protocol(shared: Shared, listener: ListenerSettings) -> ServerProtocol:
    return ServerProtocol(
        extensions=shared.offers.of(listener),
        postmaster=shared.postmaster,
        tls_required=listener.tls is ListenerTls.REQUIRED,
        long_lines=shared.settings.long_lines,
        bare_newline=listener.bare_newline,
    )
