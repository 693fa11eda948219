"""What a session did, as the events that tell it: one at its end, one for each decision."""

from __future__ import annotations

import trio

from edgerelay.edge.client import Client
from edgerelay.edge.transaction import Committed, MailTransaction
from edgerelay.mail.reply import Reply
from edgerelay.net.transport import TlsFacts
from edgerelay.observe.escape import escape
from edgerelay.observe.events import (
    MessageAccepted,
    Observer,
    RecipientRefused,
    SessionEnded,
    Trouble,
)


class Record:
    """Of one session. ``token`` is its name, ``listener`` that of where it began."""

    __slots__ = (
        "_observer",
        "accepted",
        "client",
        "errors",
        "helo",
        "listener",
        "now",
        "octets",
        "refused",
        "started",
        "tls_failure",
        "token",
    )

    def __init__(self, observer: Observer, token: str, listener: str, client: Client) -> None:
        #: Monotonic, in seconds: Trio's own clock, asked without the way through its run.
        self.now = trio.lowlevel.current_clock().current_time
        self._observer = observer
        self.token = token
        self.listener = listener
        self.client = client
        self.helo = ""  #: as claimed, escaped
        self.started = self.now()
        self.accepted = 0  #: messages
        self.refused = 0  #: recipients and messages
        self.errors = 0  #: that spend the session's budget
        self.octets = 0  #: received
        self.tls_failure = ""  #: why there was no handshake

    def accept(self, message: Committed, transaction: MailTransaction, refused: int = 0) -> None:
        """``refused`` of its recipients had a reply of their own."""
        self.accepted += 1
        self._observer(
            MessageAccepted(
                queue_id=message.queue_id,
                session=self.token,
                client=self.client.endpoint,
                helo=self.helo,
                reverse_path=escape(str(transaction.envelope.reverse_path)),
                recipients=transaction.recipients - refused,
                size=message.size,
                duration=round(self.now() - transaction.started, 6),
                score=message.score,
                held=message.held,
            )
        )

    def refuse(
        self,
        command: str,
        reply: Reply,
        reverse_path: object,
        to: object = "",
        policy: str = "",
    ) -> None:
        """``command`` is "connect", "ehlo", "mail", "rcpt" or "data"."""
        self.refused += 1
        self._observer(
            RecipientRefused(
                session=self.token,
                client=self.client.endpoint,
                helo=self.helo,
                command=command,
                reverse_path=escape(str(reverse_path)),
                forward_path=escape(str(to)),
                reply=str(reply),
                policy=policy,
            )
        )

    def fail(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):  # the first of several is a beginning
            error = error.exceptions[0]
        detail = escape(f"session {self.token}: {type(error).__name__}: {error}", 500)
        self._observer(Trouble(where="edge", what="session failed", detail=detail))

    def end(self, how: str, tls: TlsFacts | None) -> None:
        self._observer(
            SessionEnded(
                session=self.token,
                client=self.client.endpoint,
                listener=self.listener,
                helo=self.helo,
                tls="" if tls is None else str(tls),
                accepted=self.accepted,
                refused=self.refused,
                errors=self.errors,
                octets=self.octets,
                duration=round(self.now() - self.started, 6),
                end=how,
                tls_client="" if tls is None else escape(tls.peer_name, 300),
                tls_failure=self.tls_failure,
            )
        )
