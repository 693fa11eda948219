"""One mail transaction: from MAIL to the durable commit (RFC 5321 section 3.3).

Knows no client and no connection: it takes what was agreed in commands, then octets, and
gives a reply. Whoever makes one must `close` it, whatever happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgerelay.edge.replies import LOOP, NO_ROOM, NOT_STORED, PROBLEMS
from edgerelay.edge.shared import Shared
from edgerelay.mail.envelope import ClientFacts, Envelope, Recipient
from edgerelay.mail.headers import HeaderScanner
from edgerelay.mail.reply import Reply
from edgerelay.mail.trace import received_field
from edgerelay.observe.events import Trouble
from edgerelay.smtp.events import EndOfData
from edgerelay.spool.api import Content, NewDelivery, NewMessage, QueueId, SpoolError, SpoolFull

#: RFC 5321 section 6.3: a large threshold, at least 100.
MAX_RECEIVED: Final = 100
#: Mail may pass us more than once, forwarded out and back; a loop does it without end.
MAX_OWN_HOPS: Final = 10


@dataclass(frozen=True, slots=True)
class Committed:
    queue_id: QueueId
    size: int  #: octets, without our own fields


class MailTransaction:
    __slots__ = (
        "_content",
        "_counted",
        "_doomed",
        "_lanes",
        "_mailboxes",
        "_scanner",
        "_shared",
        "envelope",
        "started",
    )

    def __init__(self, shared: Shared, envelope: Envelope, started: float) -> None:
        """``started`` is monotonic, in seconds."""
        self.envelope = envelope
        self.started = started
        self._shared = shared
        self._lanes: dict[str, list[Recipient]] = {}
        self._mailboxes: set[tuple[str, str]] = set()
        self._content: Content | None = None
        self._scanner: HeaderScanner | None = None
        self._doomed: Reply | None = None  # known before the final dot
        self._counted = 0
        shared.transactions += 1

    @property
    def recipients(self) -> int:
        return len(self._mailboxes)

    @property
    def is_receiving(self) -> bool:
        return self._content is not None or self._doomed is not None

    def knows(self, recipient: Recipient) -> bool:
        """This mailbox was accepted already; case counts before the @ (RFC 5321 section 2.4)."""
        return bool(self._mailboxes) and _mailbox(recipient) in self._mailboxes

    def add(self, recipient: Recipient, lane: str) -> None:
        self._mailboxes.add(_mailbox(recipient))
        self._lanes.setdefault(lane, []).append(recipient)

    def open_content(self) -> None:
        self._content = self._shared.spool.new_content()
        self._scanner = HeaderScanner(self._shared.settings.hostname)

    async def receive(self, chunk: bytes) -> None:
        """Take content. What can be refused already is thrown away as it comes."""
        content, scanner = self._content, self._scanner
        if content is None or scanner is None:
            return
        if not scanner.is_done:
            scanner.feed(chunk)
            if scanner.received > MAX_RECEIVED or scanner.own_hops > MAX_OWN_HOPS:
                return self._doom(LOOP)
        self._counted += len(chunk)
        self._shared.content += len(chunk)
        if content.feed(chunk):
            try:
                await content.flush()
            except SpoolError as error:
                self._doom(self._not_stored(error))

    async def commit(self, end: EndOfData, client: ClientFacts) -> Committed | Reply:
        """Make it durable, or say why not. To be shielded: from here on the mail is ours."""
        if end.problem is not None:
            return PROBLEMS[end.problem]
        if self._doomed is not None or self._content is None:
            return self._doomed or NOT_STORED
        queue_id = self._shared.spool.allocate_id()
        message = self._message(queue_id, self._content, client)
        try:
            await self._shared.spool.commit(message)
        except SpoolError as error:
            return self._not_stored(error)
        return Committed(queue_id, end.size)

    def close(self) -> None:
        """Forget what was not committed. Idempotent."""
        if self._shared is not None:
            self._forget_content()
            self._shared.transactions -= 1
            self._shared = None  # type: ignore[assignment]  # nothing is asked of it any more

    def _message(self, queue_id: QueueId, content: Content, client: ClientFacts) -> NewMessage:
        shared = self._shared
        now = shared.clock()
        deliveries = tuple(NewDelivery(lane, tuple(to)) for lane, to in self._lanes.items())
        only = len(self._mailboxes) == 1
        prepend = received_field(
            helo=client.helo,
            client=client.address,
            hostname=shared.settings.hostname,
            protocol=client.protocol,
            queue_id=queue_id,
            now=now,
            tls=client.tls,
            recipient=deliveries[0].recipients[0].forward_path if only else None,
            smtputf8=self.envelope.smtputf8,
        )
        return NewMessage(queue_id, self.envelope, client, now, prepend, content, deliveries)

    def _doom(self, reply: Reply) -> None:
        self._doomed = reply
        self._forget_content()

    def _forget_content(self) -> None:
        if self._content is not None:
            self._content.discard()
            self._content = None
        self._shared.content -= self._counted
        self._counted = 0

    def _not_stored(self, error: SpoolError) -> Reply:
        self._shared.observer(Trouble(where="spool", what="mail not stored", detail=str(error)))
        return NO_ROOM if isinstance(error, SpoolFull) else NOT_STORED


def _mailbox(recipient: Recipient) -> tuple[str, str]:
    mailbox = recipient.forward_path.mailbox
    return mailbox.local_part, mailbox.domain_key
