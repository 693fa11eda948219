"""One mail transaction: from MAIL to the durable commit (RFC 5321 section 3.3).

Knows no client and no connection: it takes what was agreed in commands, then octets, and
gives a reply. Whoever makes one must `close` it, whatever happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgerelay.edge.boundary import Deliverable
from edgerelay.edge.policing import Judgement
from edgerelay.edge.replies import (
    DELIVERED_BEFORE,
    HEADER_TOO_LARGE,
    LOOP,
    NO_ROOM,
    NOT_STORED,
    PROBLEMS,
)
from edgerelay.edge.shared import Shared
from edgerelay.mail.address import ForwardPath
from edgerelay.mail.envelope import ClientFacts, Envelope, Recipient
from edgerelay.mail.headers import HeaderScanner
from edgerelay.mail.reply import Reply
from edgerelay.mail.trace import received_field
from edgerelay.observe.escape import escape
from edgerelay.observe.events import MessageDiscarded, Trouble
from edgerelay.pipeline import authentication_results
from edgerelay.pipeline.edits import apply
from edgerelay.pipeline.message import HeaderTooLarge, ReadMessage, read_message
from edgerelay.policy import Defer, Discard, Hold, Reject
from edgerelay.smtp.events import EndOfChunk, EndOfData
from edgerelay.spool.api import (
    REFUSED_LANE,
    Content,
    NewDelivery,
    NewMessage,
    QueueId,
    SpoolError,
    SpoolFull,
    Status,
)

#: RFC 5321 section 6.3: a large threshold, at least 100.
MAX_RECEIVED: Final = 100
#: Mail may pass us more than once, forwarded out and back; a loop does it without end.
MAX_OWN_HOPS: Final = 10


@dataclass(frozen=True, slots=True)
class Committed:
    queue_id: QueueId
    size: int  #: octets, without our own fields
    score: float = 0.0  #: that policies gave
    held: str = ""  #: why it is held for some recipient
    is_kept: bool = True  #: False: policies had it dropped for everybody


NO_JUDGEMENT: Final = Judgement()


class MailTransaction:
    __slots__ = (
        "_buffered",
        "_content",
        "_counted",
        "_doomed",
        "_lanes",
        "_mailboxes",
        "_route",
        "_scanner",
        "_shared",
        "_trusted",
        "answered",
        "envelope",
        "is_receiving",
        "prdr",
        "started",
    )

    def __init__(
        self,
        shared: Shared,
        envelope: Envelope,
        started: float,
        *,
        prdr: bool = False,
        trusted: bool = False,
    ) -> None:
        """``started`` is monotonic, in seconds; ``prdr``: each recipient may have its reply;
        ``trusted``: of a client that may relay."""
        self.envelope = envelope
        self.started = started
        self._shared = shared
        self._lanes: dict[str, list[Recipient]] = {}
        self._route: object = None  # of the first recipient
        self.prdr = prdr
        self._trusted = trusted
        self._mailboxes: dict[tuple[str, str], ForwardPath] = {}
        self.answered: list[ForwardPath] = []  #: for each 250 to RCPT whom it was for
        self.is_receiving = False  #: content has begun to come, or is refused before it does
        self._content: Content | None = None
        self._scanner: HeaderScanner | None = None
        self._doomed: Reply | None = None  # known before the final dot
        self._counted = 0  # octets of content that came
        self._buffered = 0  # those of them that are in memory
        shared.transactions += 1

    @property
    def recipients(self) -> int:
        return len(self._mailboxes)

    def knows(self, recipient: Recipient) -> bool:
        """This mailbox was accepted already; case counts before the @ (RFC 5321 section 2.4)."""
        return bool(self._mailboxes) and _mailbox(recipient) in self._mailboxes

    def parts_with(self, way: Deliverable) -> bool:
        """Whoever goes that way may have another fate than those accepted, and no reply for it."""
        return not self.prdr and bool(self._mailboxes) and way.route != self._route

    def add(self, recipient: Recipient, way: Deliverable) -> None:
        if not self._mailboxes:
            self._route = way.route
        self._mailboxes[_mailbox(recipient)] = recipient.forward_path
        self._lanes.setdefault(way.lane, []).append(recipient)
        self.answered.append(recipient.forward_path)

    def add_again(self, recipient: Recipient) -> None:
        """It was named twice: one copy, but two replies."""
        self.answered.append(self._mailboxes[_mailbox(recipient)])

    def open_content(self) -> None:
        self.is_receiving = True
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
                return self.doom(LOOP)
        shared, size = self._shared, len(chunk)
        if not shared.has_memory:
            return self.doom(NO_ROOM)
        self._counted += size
        self._buffered += size
        shared.content += size
        shared.buffered += size
        if content.feed(chunk):
            try:
                await content.flush()
            except SpoolError as error:
                return self.doom(self._not_stored(error))
            shared.buffered -= self._buffered
            self._buffered = 0

    def refusal(self, end: EndOfData | EndOfChunk) -> Reply | None:
        """Why it cannot be taken, whatever anybody thinks of it."""
        if end.problem is not None:
            return PROBLEMS[end.problem]
        if self._doomed is not None or self._content is None:
            return self._doomed or NOT_STORED
        # Our own house may send again what was delivered, to a mailbox that has moved.
        may_come = self._trusted or self._shared.settings.delivered_before == "accept"
        if self._has_been_delivered and not may_come:
            return DELIVERED_BEFORE
        return None

    @property
    def _has_been_delivered(self) -> bool:
        """Everybody it is for has been delivered it before (RFC 9228)."""
        before: set[str] = set() if self._scanner is None else self._scanner.delivered_to
        return bool(before) and all(
            f"{mailbox}@{domain}".lower() in before for mailbox, domain in self._mailboxes
        )

    @property
    def forward_paths(self) -> list[ForwardPath]:
        """Those that were accepted, lane by lane."""
        return [to.forward_path for recipients in self._lanes.values() for to in recipients]

    def refused(self, judgement: Judgement) -> dict[ForwardPath, Reply]:
        """Who is refused by a reply of its own; without PRDR nobody can be."""
        if not self.prdr:
            return {}
        return {
            path: verdict.reply
            for path, verdict in judgement.verdicts.items()
            if isinstance(verdict, Defer | Reject)
        }

    async def read(self) -> ReadMessage | Reply:
        """The message as policies see it, or why it cannot be shown to them."""
        if self._content is None:
            return NOT_STORED
        try:
            return await read_message(self._content)
        except HeaderTooLarge:
            return HEADER_TOO_LARGE
        except SpoolError as error:
            return self._not_stored(error)

    async def without_forged_results(self) -> Judgement | Reply:
        """What to do with a message that nobody judges: nothing, or cut what names us."""
        if self._scanner is None or not self._scanner.results:
            return NO_JUDGEMENT
        message = await self.read()
        if isinstance(message, Reply):
            return message
        named = message.named(authentication_results.NAME)
        return Judgement(
            apply((), authentication_results.forged(named, self._shared.result_names))
        )

    async def commit(
        self,
        end: EndOfData,
        client: ClientFacts,
        session: str,
        judgement: Judgement = NO_JUDGEMENT,
    ) -> Committed | Reply:
        """Make it durable, or say why not. To be shielded: from here on the mail is ours."""
        if (refusal := self.refusal(end)) is not None:
            return refusal
        content = self._content
        if content is None:
            return NOT_STORED
        queue_id = self._shared.spool.allocate_id()
        deliveries = tuple(self._deliveries(judgement))
        held = next((each.reason for each in deliveries if each.status is Status.HELD), "")
        try:
            if deliveries:
                await content.cut(judgement.edited.removed)
                message = self._message(queue_id, content, client, judgement, deliveries)
                await self._shared.spool.commit(message)
        except SpoolError as error:
            return self._not_stored(error)
        self._tell_discarded(queue_id, session, judgement)
        return Committed(
            queue_id, content.size, judgement.edited.score, held, is_kept=bool(deliveries)
        )

    def _deliveries(self, judgement: Judgement) -> Iterator[NewDelivery]:
        """One for each lane, and one for each word that a policy had for somebody alone."""
        elsewhere = self._elsewhere(judgement)
        if elsewhere is None and not judgement.verdicts:
            for lane, recipients in self._lanes.items():
                yield NewDelivery(lane, tuple(recipients))
            return
        by_fate: dict[tuple[str, Status, str], list[Recipient]] = {}
        refused = self.refused(judgement)
        for lane, recipients in self._lanes.items():
            for recipient in recipients:
                if recipient.forward_path in refused:
                    continue
                fate = _fate(elsewhere or lane, recipient.forward_path, judgement)
                if fate is not None:
                    by_fate.setdefault(fate, []).append(recipient)
        for (lane, status, reason), to in by_fate.items():
            yield NewDelivery(lane, tuple(to), status, reason)

    def _elsewhere(self, judgement: Judgement) -> str | None:
        if judgement.edited.next_hops is None:
            return None
        lane = self._shared.route_to(judgement.edited.next_hops)
        if lane is None:
            hops = escape(", ".join(judgement.edited.next_hops), 200)
            what = "a policy routed to what is no next hop"
            self._shared.observer(Trouble(where="policy", what=what, detail=hops))
        return lane

    def _tell_discarded(self, queue_id: QueueId, session: str, judgement: Judgement) -> None:
        dropped: dict[tuple[str, str], list[str]] = {}
        for path in self.forward_paths if judgement.verdicts else ():
            verdict = judgement.verdicts.get(path)
            if isinstance(verdict, Discard):
                by = (judgement.deciders.get(path, ""), verdict.reason)
                dropped.setdefault(by, []).append(escape(str(path)))
        for (policy, reason), paths in dropped.items():
            self._shared.observer(
                MessageDiscarded(
                    queue_id=queue_id,
                    session=session,
                    policy=policy,
                    reason=escape(reason, 200),
                    reverse_path=escape(str(self.envelope.reverse_path)),
                    recipients=paths,
                )
            )

    def close(self) -> None:
        """Forget what was not committed. Idempotent."""
        if self._shared is not None:
            self._forget_content()
            self._shared.transactions -= 1
            self._shared = None  # type: ignore[assignment]  # nothing is asked of it any more

    def _message(
        self,
        queue_id: QueueId,
        content: Content,
        client: ClientFacts,
        judgement: Judgement,
        deliveries: tuple[NewDelivery, ...],
    ) -> NewMessage:
        shared = self._shared
        now = shared.clock()
        only = len(self._mailboxes) == 1
        received = received_field(
            helo=client.helo,
            client=client.address,
            hostname=shared.settings.hostname,
            protocol=client.protocol,
            queue_id=queue_id,
            now=now,
            tls=client.tls,
            recipient=self.forward_paths[0] if only else None,
            smtputf8=self.envelope.smtputf8,
        )
        prepend = judgement.edited.prepend + received
        if self._scanner is not None and self._scanner.is_headless:
            prepend += b"\r\n"  # else its first line would go on with our field
        return NewMessage(queue_id, self.envelope, client, now, prepend, content, deliveries)

    def doom(self, reply: Reply) -> None:
        """Refuse it, whatever comes; what has come is forgotten."""
        self._doomed = reply
        self.is_receiving = True
        self._forget_content()

    def _forget_content(self) -> None:
        if self._content is not None:
            self._content.discard()
            self._content = None
        self._shared.content -= self._counted
        self._shared.buffered -= self._buffered
        self._counted = self._buffered = 0

    def _not_stored(self, error: SpoolError) -> Reply:
        self._shared.observer(Trouble(where="spool", what="mail not stored", detail=str(error)))
        return NO_ROOM if isinstance(error, SpoolFull) else NOT_STORED


def _fate(lane: str, path: ForwardPath, judgement: Judgement) -> tuple[str, Status, str] | None:
    """Where one recipient's mail goes, and why it is held or refused; None: nowhere."""
    match judgement.verdicts.get(path):
        case Discard():
            return None
        case Hold(reason):
            policy = judgement.deciders.get(path, "policy")
            return lane, Status.HELD, escape(f"{policy}: {reason}", 200)
        case Reject(reply):
            # Others were accepted, so its own refusal can only be a report to the sender.
            return REFUSED_LANE, Status.QUEUED, str(reply)
        case _:  # a deferral too: the one reply there is said that we have it
            return lane, Status.QUEUED, ""


def _mailbox(recipient: Recipient) -> tuple[str, str]:
    mailbox = recipient.forward_path.mailbox
    return mailbox.local_part, mailbox.domain_key
