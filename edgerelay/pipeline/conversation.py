"""One session's stages, as SMTP brings them. The session gives each command to it in turn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import trio

from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.mail.envelope import Envelope
from edgerelay.pipeline.asking import Asking, Helpers, Outcome, Subject
from edgerelay.pipeline.plan import Entry, Plan
from edgerelay.pipeline.records import Failed, Observed, Record, Trace
from edgerelay.pipeline.watchdog import Watchdog
from edgerelay.policy import (
    Asked,
    Connection,
    Decisive,
    Edit,
    ForwardPath,
    MailTransaction,
    Message,
    Session,
    Stage,
)

Arguments = tuple[object, ...]


class Conversation:
    """The policies of one session, run in the session's own nursery.

    ``connect``, ``ehlo`` and ``mail`` return at once: ``start()`` what they return to refuse at
    RCPT (``delay_reject``), or await its ``outcome()`` to refuse now.
    """

    def __init__(
        self,
        plan: Plan,
        nursery: trio.Nursery,
        session: Session,
        record: Record,
        *,
        budget: float = 100.0,
        grace: float = 5.0,
        watchdog: Watchdog | None = None,
        stuck: Callable[[], None] = lambda: None,
        trace: Trace | None = None,
    ) -> None:
        """``budget`` is seconds for the message stage, ``grace`` seconds after a reply for
        those in observe mode. ``stuck`` is called when a policy holds the caller's task and no
        cancellation reaches it: the session can only be given up."""
        watchdog = Watchdog() if watchdog is None else watchdog
        self._plan = plan
        self._helpers = Helpers(nursery, _careful(record), watchdog, stuck, trace)
        self._session, self._budget, self._grace = session, budget, grace
        self._connect: Asking | None = None
        self._ehlo: Asking | None = None
        self._mail: Asking | None = None
        self._envelope = Envelope(NULL_REVERSE_PATH)
        self._message: Message | None = None
        self._decided: dict[Subject, Decisive] = {}  # at RCPT, of those who were accepted
        self._deciders: dict[Subject, Entry] = {}
        self._accepted: list[ForwardPath] = []  # whom the message stage is about
        self._edits: list[Edit] = []  # that were asked for at RCPT
        self._of_rcpt: tuple[Edit, ...] = ()  # of the last one

    def connect(self) -> Asking:
        self._connect = self._asking(Stage.CONNECT, None)
        return self._connect

    def ehlo(self, session: Session) -> Asking:
        """Take EHLO or HELO; it ends the transaction (RFC 5321 section 4.1.4).

        ``session`` is what is known from now on.
        """
        self.reset()
        if self._ehlo is not None:
            self._ehlo.cut()
        self._session = session
        self._ehlo = self._asking(Stage.EHLO, self._connect)
        return self._ehlo

    def mail(self, envelope: Envelope) -> Asking:
        self.reset()
        self._envelope = envelope
        self._mail = self._asking(Stage.MAIL, self._ehlo or self._connect)
        return self._mail

    async def rcpt(self, forward_path: ForwardPath) -> Outcome:
        asking = self._asking(Stage.RCPT, self._mail, (forward_path,))
        outcome = await asking.outcome()
        asking.retire(self._grace)
        self._of_rcpt = asking.edits
        return outcome

    def accepted(self, forward_path: ForwardPath, outcome: Outcome) -> None:
        """Note that RCPT was answered 250; ``outcome`` is what `rcpt` returned."""
        verdict = outcome.verdicts.get(forward_path)
        if verdict is None:
            self._accepted.append(forward_path)
        else:  # Accept, Hold or Discard
            self._decided[forward_path] = verdict
            self._deciders[forward_path] = outcome.decided_by[forward_path]
        self._edits += self._of_rcpt

    async def message(self, message: Message, *, may_be_read_on: bool = True) -> Outcome:
        """``may_be_read_on``: those in observe mode can still read it after the reply."""
        self._message = message
        deadline = trio.current_time() + self._budget
        asking = self._asking(Stage.MESSAGE, self._mail, tuple(self._accepted), deadline)
        if not self._accepted:
            asking.cut()
        outcome = await asking.outcome()
        asking.retire(self._grace if may_be_read_on else 0.0)
        if self._mail is not None:
            self._mail.retire(self._grace)
        verdicts = {**self._decided, **outcome.verdicts}
        deciders = {**self._deciders, **outcome.decided_by}
        before = len(outcome.edits) - len(asking.edits)
        edits = (*outcome.edits[:before], *self._edits, *outcome.edits[before:])
        self._forget()
        return Outcome(verdicts, deciders, edits, outcome.evidence)

    def reset(self) -> None:
        """Abandon the transaction: RSET, EHLO, a new MAIL."""
        if self._mail is not None:
            self._mail.cut()
        self._forget()

    def quit(self) -> None:
        """End in peace; whoever leaves by a broken connection cancels the nursery instead."""
        self.reset()
        for asking in (self._connect, self._ehlo):
            if asking is not None:
                asking.retire(self._grace) if asking.is_over else asking.cut()

    def _forget(self) -> None:
        self._mail, self._message = None, None
        self._accepted, self._decided, self._deciders = [], {}, {}
        self._edits, self._of_rcpt = [], ()

    def _asking(
        self,
        stage: Stage,
        before: Asking | None,
        subjects: tuple[Subject, ...] = (None,),
        deadline: float = float("inf"),
    ) -> Asking:
        session, envelope, accepted = self._session, self._envelope, self._accepted
        message = self._message

        def arguments(asked: Asked, whom: tuple[Subject, ...]) -> Arguments:
            if stage <= Stage.EHLO:
                return (Connection(asked, session),)
            if stage is Stage.MESSAGE:
                paths = tuple(path for path in whom if path is not None)
                return (MailTransaction(asked, session, envelope, paths), message)
            transaction = MailTransaction(asked, session, envelope, tuple(accepted))
            return (transaction,) if stage is Stage.MAIL else (transaction, *whom)

        return Asking(self._plan, stage, before, arguments, self._helpers, subjects, deadline)


def _careful(record: Record) -> Record:
    """Telling of an answer must not cost it: whatever the teller raises stays with it."""

    def tell(what: Failed | Observed) -> None:
        with suppress(Exception):
            record(what)

    return tell
