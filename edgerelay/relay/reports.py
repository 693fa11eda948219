"""Who is told of what became of a message: reports as new messages of the queue (RFC 3464).

It chooses and gathers; the words are `edgerelay.mail.dsn`'s. What it builds is committed by
the caller, together with the outcome that caused it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgerelay.mail.address import NULL_REVERSE_PATH, ForwardPath, Mailbox
from edgerelay.mail.dsn import FULL_LIMIT, ReportedRecipient, ReportKind, Subject, report
from edgerelay.mail.envelope import Body, ClientFacts, Envelope, Notify, Recipient, Ret
from edgerelay.observe.events import Observer, Reported
from edgerelay.relay.attempt import NO_CONNECTION, OWN_WORDS
from edgerelay.relay.routing import Router
from edgerelay.relay.schedule import Settled
from edgerelay.relay.settings import RelaySettings
from edgerelay.runtime import Clock
from edgerelay.spool.api import (
    NewDelivery,
    NewMessage,
    PendingDelivery,
    Spool,
    SpoolError,
    StoredMessage,
)

#: Why a message is held that nobody could be told of, by a fault of ours.
UNTOLD: Final = "its report could not be composed"

_HEAD: Final = 64 * 1024  # octets of header looked at and returned
_STATUS: Final = re.compile(r"(\d)\d\d (?:(\d\.\d{1,3}\.\d{1,3}) )?")
_EXPIRED: Final = "4.4.7"  # RFC 3463 section 3.5: delivery time expired
_LIST: Final = re.compile(rb"^(?:list-[a-z]+[ \t]*:|precedence[ \t]*:[ \t]*(?:bulk|list|junk)\b)")


@dataclass(frozen=True, slots=True)
class BuiltReport:
    """A report to be committed, and the event that says so afterwards."""

    message: NewMessage
    event: Reported


class Reporter:
    """Builds reports. It never reports to a report, nor to a null reverse-path."""

    def __init__(
        self, settings: RelaySettings, spool: Spool, router: Router, clock: Clock
    ) -> None:
        self._hostname = settings.hostname
        postmaster = settings.postmaster or f"postmaster@{settings.hostname}"
        self._postmaster = Mailbox.from_text(postmaster)
        self._spool = spool
        self._router = router
        self._clock = clock

    async def build(
        self,
        kind: ReportKind,
        message: StoredMessage,
        settled: Sequence[Settled],
        *,
        remote_mta: str = "",
        last_reply: str = "",
        retry_until: float | None = None,
    ) -> BuiltReport | None:
        """Compose one report about these recipients; None if its receiver has no route.

        ``last_reply`` stands in for recipients of whom nothing was ever said. Raises
        `SpoolError`.
        """
        to = message.envelope.reverse_path.mailbox
        if to is None or message.about is not None or not settled:
            return None
        lane = self._router.lane_of(to, anywhere=True)
        if lane is None:
            return None
        now = self._clock()
        queue_id = self._spool.allocate_id()
        reported = [
            _reported(one, kind, now, remote_mta, last_reply, retry_until) for one in settled
        ]
        composed = report(
            kind,
            Subject(message.queue_id, message.envelope, message.arrived),
            reported,
            reporting_mta=self._hostname,
            postmaster=self._postmaster,
            report_id=queue_id,
            now=now,
            head=message.prepend + await self._spool.head(message, _HEAD),
            full=await self._full(kind, message),
        )
        content = self._spool.new_content()
        try:
            if content.feed(composed.content):
                await content.flush()
        except BaseException:
            content.discard()
            raise
        new = NewMessage(
            queue_id=queue_id,
            envelope=Envelope(
                NULL_REVERSE_PATH,
                body=None if composed.is_7bit else Body.EIGHT_BIT_MIME,
                smtputf8=composed.smtputf8,
            ),
            client=ClientFacts(address="", helo=self._hostname, protocol=""),
            arrived=now,
            prepend=b"",
            content=content,
            # RFC 3461 section 6.1: a report is itself never reported.
            deliveries=(
                NewDelivery(lane.name, (Recipient(ForwardPath(to), notify=Notify.NEVER),)),
            ),
            about=message.queue_id,
        )
        event = Reported(
            queue_id=queue_id,
            about=message.queue_id,
            kind=kind.value,
            to=str(to),
            recipients=[str(one.recipient.forward_path) for one in settled],
        )
        return BuiltReport(new, event)

    async def may_warn(self, delivery: PendingDelivery) -> list[Settled]:
        """Return those who are to hear of a delay: nobody, if the message is a list's.

        A delay concerns the one who wrote; a list's own software only learns to unsubscribe
        from it. Raises `SpoolError`.
        """
        message = delivery.message
        if message.envelope.reverse_path.is_null or message.about is not None:
            return []
        waiting = [
            Settled(pending.recipient, pending.last_reply)
            for pending in delivery.recipients
            if Notify.DELAY in pending.recipient.wants
        ]
        if waiting and _is_from_list(await self._spool.head(message, _HEAD)):
            return []
        return waiting

    async def _full(self, kind: ReportKind, message: StoredMessage) -> bytes | None:
        envelope = message.envelope
        # RFC 8689 section 5: what was to travel under TLS alone is not returned; and a report
        # has lines, which binary content has not.
        is_private = envelope.requiretls or envelope.body is Body.BINARY_MIME
        wanted = kind is ReportKind.FAILED and envelope.ret is Ret.FULL and not is_private
        if not wanted or message.size > FULL_LIMIT:
            return None
        try:
            content = b"".join([chunk async for chunk in self._spool.chunks(message)])
        except SpoolError:
            return None  # the header will do
        return message.prepend + content


def announce(observer: Observer, built: Sequence[BuiltReport]) -> None:
    for one in built:
        observer(one.event)


def _reported(
    settled: Settled,
    kind: ReportKind,
    now: float,
    remote_mta: str,
    last_reply: str,
    retry_until: float | None,
) -> ReportedRecipient:
    said = settled.reply or last_reply or str(NO_CONNECTION)
    return ReportedRecipient(
        settled.recipient,
        status=_EXPIRED if settled.expired else status_of(said, kind),
        reply=said,
        remote_mta="" if said in OWN_WORDS else remote_mta,
        attempted=now if remote_mta else None,
        retry_until=retry_until,
    )


def status_of(reply: str, kind: ReportKind) -> str:
    """Return the enhanced status code of a reply in text, or the general one of its class."""
    found = _STATUS.match(reply)
    if found is None:
        return "5.0.0" if kind is ReportKind.FAILED else "4.0.0"
    return found[2] or f"{found[1]}.0.0"


def _is_from_list(head: bytes) -> bool:
    """Look for List-* fields (RFC 2369, RFC 2919) and the old Precedence field."""
    header = head.partition(b"\r\n\r\n")[0].lower()
    return any(_LIST.match(line) for line in header.split(b"\r\n"))
