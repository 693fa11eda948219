"""One connection, from the first octet to the last: events in, replies out.

What octets mean is `edgerelay.smtp`'s, what mail becomes `MailTransaction`'s; here is who
waits for whom, for how long, and how it ends. Each wait has the transport's deadline.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from edgerelay.edge import replies
from edgerelay.edge.boundary import Refused as RecipientIsRefused
from edgerelay.edge.client import Client
from edgerelay.edge.limits import Admission
from edgerelay.edge.proxy import ProxyError, parse_proxy_header, still_needed
from edgerelay.edge.settings import ListenerSettings, ListenerTls
from edgerelay.edge.shared import Shared
from edgerelay.edge.transaction import Committed, MailTransaction
from edgerelay.mail.envelope import ClientFacts
from edgerelay.mail.reply import Reply
from edgerelay.mail.trace import protocol_name
from edgerelay.net.transport import DeadlinePassed, Transport, TransportError
from edgerelay.observe.escape import escape
from edgerelay.observe.events import MessageAccepted, RecipientRefused, SessionEnded, Trouble
from edgerelay.smtp.events import (
    DataChunk,
    EndOfData,
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

#: Seconds for a proxy to say whom it speaks for: it writes that first, at once.
PROXY_TIMEOUT: Final = 5.0
#: Seconds for a TLS handshake.
TLS_TIMEOUT: Final = 30.0
#: Seconds for a peer to take our last words.
_FAREWELL: Final = 2.0
#: So many commands of one pipelined group are answered before others have their turn.
_TURN: Final = 64


class _EndedError(Exception):
    """The session is to end with a 421; ``why`` is a key of its texts."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Session:
    """`run` is all there is to do with it; `stop` may be called from elsewhere."""

    __slots__ = (
        "_accepted",
        "_client",
        "_end",
        "_errors",
        "_extended",
        "_helo",
        "_key",
        "_listener",
        "_octets",
        "_protocol",
        "_refused",
        "_said",
        "_shared",
        "_started",
        "_transaction",
        "_transport",
        "_trusted",
        "token",
    )

    def __init__(self, shared: Shared, transport: Transport, listener: ListenerSettings) -> None:
        self.token = shared.new_token()
        self._shared = shared
        self._transport = transport
        self._listener = listener
        self._client = Client.from_peer(transport.peer)
        self._key: str | None = None  # under which the limits have counted us
        self._trusted = False
        self._protocol = self._new_protocol()
        self._transaction: MailTransaction | None = None
        self._said: list[bytes] = []  # replies of a pipelined group, for one write
        self._helo = ""
        self._extended = False
        self._started = trio.current_time()
        self._accepted = self._refused = self._errors = self._octets = 0
        self._end = ""

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
            if self._key is not None:
                self._shared.limits.release(self._key)
            # After QUIT nothing more can come: nothing to wait for.
            await self._transport.aclose(linger=self._end != "quit")
            self._report()

    async def _serve(self) -> None:
        try:
            rest = await self._open()
            if rest is not None:
                await self._converse(rest)
        except _EndedError as ended:
            self._end = ended.why
            await self._farewell(ended.why)
        except DeadlinePassed:
            self._end = "shutdown" if self._shared.stopping else "timeout"
            await self._farewell(self._end)
        except TransportError:
            self._end = self._end or "lost"
        except Exception as error:  # one escaped exception would end every session
            self._end = "trouble"
            detail = escape(f"{type(error).__name__}: {error}", 500)
            self._shared.observer(Trouble(where="edge", what="session failed", detail=detail))
            await self._farewell("trouble")

    async def _farewell(self, why: str) -> None:
        self._transport.deadline = trio.current_time() + _FAREWELL
        reply = replies.last_words(self._shared.settings.hostname, why)
        # What was answered but not sent yet goes first: above all the 250 of a commit.
        self._said.append(bytes(replies.signed(reply, self.token)))
        with contextlib.suppress(TransportError):  # nobody hears it
            await self._flush()

    # --- before the greeting ----------------------------------------------------------------

    async def _open(self) -> bytes | None:
        """Return what the client has said already, or None if it is not to be served."""
        rest = b""
        implicit = self._listener.tls is ListenerTls.IMPLICIT
        if self._listener.proxy_protocol_from and self._client.is_in(
            self._listener.proxy_protocol_from
        ):
            try:
                rest = await self._read_proxy_header(exact=implicit)
            except (ProxyError, TransportError):
                self._end = "no proxy header"
                return None
        if not self._admit(silently=implicit):
            return None
        relay_from = self._shared.settings.relay_from
        self._trusted = bool(relay_from) and self._client.named and self._client.is_in(relay_from)
        if implicit:
            await self._handshake()
        return rest

    async def _read_proxy_header(self, *, exact: bool) -> bytes:
        """``exact``: read not an octet further, since the handshake must find the rest."""
        transport = self._transport
        transport.deadline = trio.current_time() + PROXY_TIMEOUT
        data = b""
        while needed := still_needed(data):
            more = await transport.receive(needed if exact else 4096)
            if not more:
                raise ProxyError("ended")
            data += more
        header = parse_proxy_header(data)
        if header.client is None:
            self._client = self._client.unnamed()
        else:
            self._client = Client.behind_proxy(*header.client)
        return data[header.length :]

    def _admit(self, *, silently: bool) -> bool:
        key = self._client.key
        if key is None:
            return True
        admission = self._shared.limits.admit(key, trio.current_time())
        if admission is Admission.ADMITTED:
            self._key = key
            return True
        if silently:
            self._end = admission.value
            return False
        raise _EndedError(admission.value)

    async def _handshake(self) -> None:
        context = self._listener.tls_context
        if context is None:
            raise RuntimeError("a listener with TLS has no certificate")
        self._transport.deadline = trio.current_time() + TLS_TIMEOUT
        self._end = "tls"  # should it fail
        await self._transport.start_tls(context, server_side=True)
        self._end = ""

    # --- the conversation -------------------------------------------------------------------

    async def _converse(self, data: bytes) -> None:
        protocol, said = self._protocol, self._said
        said.append(protocol.send(replies.greeting(self._shared.settings.hostname)))
        if data:
            protocol.receive_data(data)
        while True:
            event = protocol.next_event()
            if event is None:
                if said:
                    await self._flush()
                if self._end or not await self._receive():
                    return
            elif type(event) is DataChunk:
                await self._open_transaction().receive(event.data)
            else:
                reply = await _HANDLERS[type(event)](self, event)
                said.append(protocol.send(reply))
                if type(event) is StartTls:
                    await self._secure()
                elif len(said) >= _TURN:
                    await self._flush()
                    await trio.lowlevel.checkpoint()

    async def _flush(self) -> None:
        said = self._said
        data = said[0] if len(said) == 1 else b"".join(said)
        said.clear()
        await self._transport.send(data)

    async def _receive(self) -> bool:
        """Wait for octets and pass them on. False: the client has gone."""
        settings, now, transaction = self._shared.settings, trio.current_time(), self._transaction
        if transaction is None:
            # Only here may a session end that has done nothing wrong.
            if self._shared.stopping:
                raise _EndedError("shutdown")
            if now - self._started >= settings.session_timeout:
                raise _EndedError("too long")
            self._transport.deadline = now + settings.command_timeout
        elif transaction.is_receiving:
            self._transport.deadline = now + settings.data_timeout
        else:
            self._transport.deadline = now + settings.command_timeout
        data = await self._transport.receive()
        self._octets += len(data)
        self._protocol.receive_data(data)
        return bool(data)

    async def _secure(self) -> None:
        await self._flush()
        await self._handshake()
        self._protocol.tls_started()
        self._helo = ""

    async def _on_hello(self, event: Hello) -> Reply:
        self._end_transaction()
        self._helo = event.name
        self._extended = event.verb == "EHLO"
        hostname = self._shared.settings.hostname
        return self._protocol.ehlo_reply(hostname) if self._extended else Reply(250, "", hostname)

    async def _on_mail(self, event: Mail) -> Reply:
        if not self._shared.has_room:
            return self._refuse("mail", replies.NO_ROOM, str(event.envelope.reverse_path))
        self._transaction = MailTransaction(self._shared, event.envelope, trio.current_time())
        return replies.MAIL_OK

    async def _on_rcpt(self, event: Rcpt) -> Reply:
        transaction, recipient = self._open_transaction(), event.recipient
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
                transaction.add(recipient, answer.lane)
                return replies.RCPT_OK
            reply = answer.reply
        if reply.is_permanent:
            self._errors += 1
        return self._refuse("rcpt", reply, str(reverse_path), str(forward_path))

    async def _on_start_data(self, _: StartData) -> Reply:
        transaction = self._open_transaction()
        if not self._shared.has_room:
            return self._refuse("data", replies.NO_ROOM, str(transaction.envelope.reverse_path))
        transaction.open_content()
        return replies.GO_AHEAD

    async def _on_end_of_data(self, event: EndOfData) -> Reply:
        transaction = self._open_transaction()
        reverse_path = str(transaction.envelope.reverse_path)
        client = self._facts(transaction)
        # From the final dot on the mail is ours or refused, whoever goes away meanwhile.
        with trio.CancelScope(shield=True):
            result = await transaction.commit(event, client)
        self._end_transaction()
        if not isinstance(result, Committed):
            return self._refuse("data", result, reverse_path)
        self._accepted += 1
        self._shared.observer(
            MessageAccepted(
                queue_id=result.queue_id,
                session=self.token,
                client=self._client.endpoint,
                helo=client.helo,
                reverse_path=reverse_path,
                recipients=transaction.recipients,
                size=result.size,
                duration=trio.current_time() - transaction.started,
            )
        )
        return replies.queued(result.queue_id)

    async def _on_reset(self, _: Reset) -> Reply:
        self._end_transaction()
        return replies.OK

    async def _on_noop(self, _: Noop) -> Reply:
        return replies.OK

    async def _on_verify(self, _: Verify) -> Reply:
        return replies.CANNOT_VERIFY

    async def _on_expand(self, _: Expand) -> Reply:
        return replies.signed(replies.NOT_EXPANDED, self.token)

    async def _on_help(self, _: Help) -> Reply:
        return replies.HELP

    async def _on_quit(self, _: Quit) -> Reply:
        self._end = "quit"
        return replies.BYE

    async def _on_start_tls(self, _: StartTls) -> Reply:
        return replies.TLS_READY

    async def _on_refused(self, event: Refused) -> Reply:
        self._errors += 1
        if event.fatal:
            self._end = "protocol"
        return self._within_budget(event.reply)

    # --- small things -----------------------------------------------------------------------

    def _refuse(self, command: str, reply: Reply, reverse_path: str, to: str = "") -> Reply:
        self._refused += 1
        self._shared.observer(
            RecipientRefused(
                session=self.token,
                client=self._client.endpoint,
                helo=escape(self._helo),
                command=command,
                reverse_path=escape(reverse_path),
                forward_path=escape(to),
                reply=str(reply),
            )
        )
        return self._within_budget(reply)

    def _within_budget(self, reply: Reply) -> Reply:
        if self._errors > self._shared.settings.errors_per_session:
            self._end = "errors"
            reply = replies.last_words(self._shared.settings.hostname, "errors")
        return replies.signed(reply, self.token)

    def _open_transaction(self) -> MailTransaction:
        if self._transaction is None:
            raise RuntimeError("the protocol let a command pass that wants a transaction")
        return self._transaction

    def _end_transaction(self) -> None:
        if self._transaction is not None:
            self._transaction.close()
            self._transaction = None

    def _new_protocol(self) -> ServerProtocol:
        listener, settings = self._listener, self._shared.settings
        starttls = listener.tls_context is not None and listener.tls in _STARTTLS
        return ServerProtocol(
            extensions=Extensions(size=settings.message_size, starttls=starttls),
            postmaster=self._shared.postmaster,
            tls_required=listener.tls is ListenerTls.REQUIRED,
            long_lines=settings.long_lines,
        )

    def _facts(self, transaction: MailTransaction) -> ClientFacts:
        tls, address = self._transport.tls, self._client.address
        smtputf8 = transaction.envelope.smtputf8
        return ClientFacts(
            address=str(address) if address is not None else "",
            helo=escape(self._helo),
            protocol=protocol_name(
                extended=self._extended, tls=tls is not None, smtputf8=smtputf8
            ),
            tls=str(tls) if tls is not None else "",
            trusted=self._trusted,
        )

    def _report(self) -> None:
        tls = self._transport.tls
        self._shared.observer(
            SessionEnded(
                session=self.token,
                client=self._client.endpoint,
                listener=self._listener.name,
                helo=escape(self._helo),
                tls=str(tls) if tls is not None else "",
                accepted=self._accepted,
                refused=self._refused,
                errors=self._errors,
                octets=self._octets,
                duration=trio.current_time() - self._started,
                end=self._end or "lost",
            )
        )


_STARTTLS: Final = (ListenerTls.STARTTLS, ListenerTls.REQUIRED)

_HANDLERS: Final[dict[type, Callable[[Session, Any], Awaitable[Reply]]]] = {
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
