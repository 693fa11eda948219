"""What each command of a session does: an event in, a reply out.

It neither reads nor sends: who waits for the client, for how long, and how a connection ends is
`Session`'s. What mail becomes is `MailTransaction`'s, what policies say `Policing`'s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import trio

from edgerelay.edge import replies
from edgerelay.edge.boundary import Refused as RecipientIsRefused
from edgerelay.edge.policing import Judgement, Policing, Refusal
from edgerelay.edge.record import Record
from edgerelay.edge.settings import ListenerSettings
from edgerelay.edge.shared import Shared
from edgerelay.edge.transaction import NO_JUDGEMENT, Committed, MailTransaction
from edgerelay.mail.address import ForwardPath, ReversePath
from edgerelay.mail.envelope import ClientFacts
from edgerelay.mail.reply import Reply
from edgerelay.mail.trace import protocol_name
from edgerelay.net.transport import Transport
from edgerelay.observe.escape import escape
from edgerelay.policy import Session as PolicySession
from edgerelay.smtp.events import (
    EndOfChunk,
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
from edgerelay.smtp.server import ServerProtocol

T = TypeVar("T")

#: Transient refusals of ours in a session before each spends its budget of errors, too.
_DEFERRED: Final = 1000
#: Seconds that a guess at a recipient costs at first, each twice the one before, and at most.
_GUESS: Final = (1.0, 4.0)


class Commands(ABC):
    """Base of `Session`: the conversation's state, and what the commands make of it."""

    __slots__ = (
        "_deferred",
        "_each",
        "_end",
        "_extended",
        "_guesses",
        "_is_deaf",
        "_listener",
        "_policing",
        "_protocol",
        "_proxied",
        "_record",
        "_shared",
        "_too_early",
        "_transaction",
        "_transport",
        "_trusted",
    )

    def __init__(
        self,
        shared: Shared,
        transport: Transport,
        listener: ListenerSettings,
        record: Record,
        protocol: ServerProtocol,
    ) -> None:
        self._shared = shared
        self._listener = listener
        self._transport = transport
        self._record = record
        self._protocol = protocol
        self._transaction: MailTransaction | None = None
        self._policing: Policing | None = None
        self._trusted = False
        self._proxied: Mapping[str, str | None] = {}  # what XCLIENT told of the client
        self._extended = False
        self._deferred = 0  # told to come again later, by us and not by a policy
        self._guesses = 0  # recipients refused for good
        self._too_early: Reply | None = None  # it does not wait: what its recipients hear
        self._is_deaf = False  # refused before the greeting: QUIT is all that is left
        self._each: list[Reply] = []  # for each recipient, said before the reply
        self._end = ""  # how it ended, once it is to end

    @abstractmethod
    async def _wait_for(self, answer: Awaitable[T]) -> T:
        """Let policies answer, as long as the client waits for it."""

    def _answer_to(self, event: Event) -> Reply | Awaitable[Reply]:
        if self._is_deaf:
            return self._on_deaf(event)
        return _HANDLERS[type(event)](self, event)

    def _as_policies_see_it(self, helo: str) -> PolicySession:
        record = self._record
        return PolicySession(
            client=record.client.address if record.client.named else None,
            token=record.token,
            listener=record.listener,
            helo=self._helo(helo),
            is_extended=self._is_extended,
            tls=str(self._transport.tls or ""),
            is_trusted=self._trusted,
            is_authenticated=bool(self._proxied.get("LOGIN")),
            tls_client_name=self._tls_client_name,
        )

    @property
    def _tls_client_name(self) -> str:
        # Behind a proxy's XCLIENT it would be the proxy's.
        tls = self._transport.tls
        return "" if tls is None or self._proxied else tls.peer_name

    def _helo(self, claimed: str) -> str:
        """The client's, if its proxy told it: then what is claimed here is the proxy's."""
        return (claimed and self._proxied.get("HELO")) or claimed

    @property
    def _is_extended(self) -> bool:
        """It said EHLO, to us or to its proxy."""
        proto = self._proxied.get("PROTO")
        return self._extended if proto is None else proto == "ESMTP"

    def _on_deaf(self, event: Event) -> Reply:
        if isinstance(event, Quit):
            return self._on_quit(event)
        self._record.errors += 1
        return self._within_budget(replies.NO_SERVICE)

    def _on_hello(self, event: Hello) -> Reply | Awaitable[Reply]:
        self._end_transaction()
        self._record.helo = escape(self._helo(event.name))
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
        self._transaction = MailTransaction(
            self._shared,
            event.envelope,
            self._record.now(),
            prdr=event.prdr,
            trusted=self._trusted,
        )
        return replies.MAIL_OK

    async def _on_rcpt(self, event: Rcpt) -> Reply:
        transaction, recipient = self._transaction, event.recipient
        if transaction is None:
            return self._out_of_order()
        if self._too_early is not None:
            self._record.errors += 1
            path = transaction.envelope.reverse_path
            return self._refuse("rcpt", self._too_early, path, recipient.forward_path)
        reverse_path, forward_path = transaction.envelope.reverse_path, recipient.forward_path
        at_most = self._shared.settings.recipients_per_message
        is_known = transaction.knows(recipient)
        if is_known and len(transaction.answered) < 2 * at_most:
            transaction.add_again(recipient)
            return replies.RCPT_OK
        if is_known or transaction.recipients >= at_most:
            return self._refuse("rcpt", replies.TOO_MANY_RECIPIENTS, reverse_path, forward_path)
        answer = await self._shared.recipients(forward_path, reverse_path, trusted=self._trusted)
        if isinstance(answer, RecipientIsRefused):
            if answer.reply.is_permanent:
                self._record.errors += 1
                await self._let_guesses_wait()
            return self._refuse("rcpt", answer.reply, reverse_path, forward_path)
        if self._listener.split and transaction.parts_with(answer):
            return self._refuse("rcpt", replies.OTHER_ROUTE, reverse_path, forward_path)
        # Policies are asked last: a stranger's address must leave no trace in a table.
        if self._policing is not None:
            refusal = await self._wait_for(self._policing.rcpt(forward_path))
            if refusal is not None:
                return self._refused_by(refusal, "rcpt", path=reverse_path, to=forward_path)
        transaction.add(recipient, answer)
        return replies.RCPT_OK

    async def _let_guesses_wait(self) -> None:
        """Who tries out names pays with time, from half of the session's errors on."""
        self._guesses += 1
        beyond = self._guesses - self._shared.settings.errors_per_session // 2
        if beyond > 0 and not self._trusted:
            first, most = _GUESS
            await trio.sleep(min(first * 2 ** (beyond - 1), most))

    def _on_start_data(self, _: StartData) -> Reply:
        transaction = self._transaction
        if transaction is None:
            return self._out_of_order()
        if not self._shared.has_room:
            return self._refuse("data", replies.NO_ROOM, transaction.envelope.reverse_path)
        transaction.open_content()
        return replies.GO_AHEAD

    def _start_chunk(self) -> None:
        """BDAT: what DATA would be refused for is said when the octets have come."""
        transaction = self._transaction
        if transaction is not None and not transaction.is_receiving:
            if self._shared.has_room:
                transaction.open_content()
            else:
                transaction.doom(replies.NO_ROOM)

    def _on_end_of_chunk(self, event: EndOfChunk) -> Reply:
        transaction = self._transaction
        if transaction is None:
            return self._out_of_order()
        reply = transaction.refusal(event)
        if reply is None:
            return replies.chunk(event.size)
        self._end_transaction()
        return self._refuse("bdat", reply, transaction.envelope.reverse_path)

    async def _on_end_of_data(self, event: EndOfData) -> Reply:
        transaction = self._transaction
        if transaction is None:
            return self._out_of_order()
        judgement = await self._judge(transaction, event)
        path = transaction.envelope.reverse_path
        if isinstance(judgement, Refusal):
            self._end_transaction()
            return self._refused_by(judgement, "data", path=path)
        if isinstance(judgement, Reply):
            self._end_transaction()
            return self._refuse("data", judgement, path)
        # From here on the mail is ours or refused, whoever goes away meanwhile.
        with trio.CancelScope(shield=True):
            result = await transaction.commit(
                event, self._facts(transaction), self._record.token, judgement
            )
        self._end_transaction()
        if not isinstance(result, Committed):
            return self._refuse("data", result, path)
        refused = transaction.refused(judgement)
        if result.is_kept:  # else its event says that it is dropped
            self._record.accept(result, transaction, len(refused))
        if refused:
            self._refuse_each(transaction, refused, judgement)
        if len(refused) == transaction.recipients:
            # Who may try again for one of them must not take it for the end of all.
            for_all = next((r for r in refused.values() if r.is_transient), None)
            reply = replies.for_one(for_all or next(iter(refused.values())))
            return replies.signed(reply, self._record.token)
        return replies.queued(result.queue_id)

    def _refuse_each(
        self,
        transaction: MailTransaction,
        refused: Mapping[ForwardPath, Reply],
        judgement: Judgement,
    ) -> None:
        """Each recipient hears its own (draft-hall-prdr): nobody is reported what is said here."""
        said = {path: replies.for_one(reply) for path, reply in refused.items()}
        for path, reply in said.items():
            by = judgement.deciders.get(path, "")
            self._record.refuse("data", reply, transaction.envelope.reverse_path, path, by)
        token = self._record.token
        self._each = [
            replies.signed(said[path], token) if path in said else replies.OK
            for path in transaction.answered
        ]

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
        asked = self._policing.message(
            message, transaction.forward_paths, each_hears=transaction.prdr
        )
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
        if reply.is_transient:
            self._deferred += 1
            if self._deferred > _DEFERRED:  # it does not mean to come again later
                self._record.errors += 1
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

    def _end_transaction(self) -> None:
        if self._transaction is not None:
            self._transaction.close()
            self._transaction = None
            if self._policing is not None:
                self._policing.reset()

    def _facts(self, transaction: MailTransaction) -> ClientFacts:
        tls = self._transport.tls
        smtputf8 = transaction.envelope.smtputf8
        return ClientFacts(
            address=self._record.client.host.text,
            helo=self._record.helo,
            protocol=protocol_name(
                extended=self._is_extended, tls=tls is not None, smtputf8=smtputf8
            ),
            tls="" if tls is None else str(tls),
            trusted=self._trusted,
        )


_HANDLERS: Final[dict[type, Callable[[Commands, Any], Reply | Awaitable[Reply]]]] = {
    Hello: Commands._on_hello,
    Mail: Commands._on_mail,
    Rcpt: Commands._on_rcpt,
    StartData: Commands._on_start_data,
    EndOfData: Commands._on_end_of_data,
    EndOfChunk: Commands._on_end_of_chunk,
    Reset: Commands._on_reset,
    Noop: Commands._on_noop,
    Verify: Commands._on_verify,
    Expand: Commands._on_expand,
    Help: Commands._on_help,
    Quit: Commands._on_quit,
    StartTls: Commands._on_start_tls,
    Refused: Commands._on_refused,
}
