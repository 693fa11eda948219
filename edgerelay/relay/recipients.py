"""Of each RCPT: where its mail goes, or why not (RFC 5321 section 3.6).

Decides only between routes, recipients files and callouts; it knows no session, and what a
client is trusted with is told it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.reply import Reply
from edgerelay.observe.events import Observer, Trouble
from edgerelay.relay.callout import Callout, Prober
from edgerelay.relay.recipients_file import RecipientsFile
from edgerelay.relay.routing import LaneSpec, Router
from edgerelay.relay.settings import HopKind, RouteSettings
from edgerelay.runtime import Clock, RunBlocking, in_thread
from edgerelay.tables.api import Tables

_NO_RELAY: Final = Reply(550, "5.7.1", "We do not relay mail to this domain")
_UNKNOWN: Final = Reply(550, "5.1.1", "There is no such mailbox here")
_NO_LIST: Final = Reply(451, "4.3.0", "The recipient cannot be verified now; try again later")

#: Local parts that every domain must take mail for (RFC 5321 section 4.5.1, RFC 2142
#: section 4).
_ALWAYS: Final = frozenset({"postmaster", "abuse"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """The recipient is ours to take; its delivery waits in this lane."""

    lane: str
    route: RouteSettings | None = None  #: that names the recipient's domain, if one does


@dataclass(frozen=True, slots=True)
class Declined:
    """The client reads this reply to its RCPT."""

    reply: Reply


RecipientAnswer = Accepted | Declined


class RecipientCheck:
    """Never raises but for cancellation: what could not be found out is a 4yz `Declined`."""

    def __init__(
        self,
        router: Router,
        tables: Tables,
        prober: Prober,
        observer: Observer,
        clock: Clock,
        run_blocking: RunBlocking = in_thread,
    ) -> None:
        self._router = router
        self._callout = Callout(tables.table("callout"), prober, observer, clock)
        self._observer = observer
        self._run_blocking = run_blocking
        self._files: dict[Path, RecipientsFile] = {}

    async def __call__(
        self, forward_path: ForwardPath, reverse_path: ReversePath, *, trusted: bool
    ) -> RecipientAnswer:
        """Answer for one forward-path; what is known needs no checkpoint.

        ``trusted`` clients may relay anywhere; recipients of our own routes are checked for
        them too.
        """
        lane = self._router.lane_of(forward_path.mailbox, anywhere=trusted)
        if lane is None:
            return Declined(_NO_RELAY)
        if lane.route is None or lane.route.recipients == "any" or _is_always(forward_path):
            return Accepted(lane.name, lane.route)
        try:
            reply = await self._objection(lane, lane.route.recipients, forward_path)
        except Exception as error:  # ours, whatever it is: the client may come again
            what = "a recipient could not be checked"
            self._observer(Trouble(where="recipients", what=what, detail=repr(error)))
            reply = _NO_LIST
        return Accepted(lane.name, lane.route) if reply is None else Declined(reply)

    async def _objection(
        self, lane: LaneSpec, recipients: str | Path, forward_path: ForwardPath
    ) -> Reply | None:
        if isinstance(recipients, Path):
            return await self._by_file(recipients, forward_path.mailbox)
        if self._callout.is_known(forward_path) or not _can_be_asked(lane):
            return None
        return await self._callout.ask(lane, forward_path)

    async def _by_file(self, path: Path, mailbox: Mailbox) -> Reply | None:
        if path not in self._files:
            self._files[path] = RecipientsFile(path, self._run_blocking, self._observer)
        recipients = await self._files[path].current()
        if recipients is None:
            return _NO_LIST
        return None if recipients.knows(mailbox) else _UNKNOWN


def _is_always(forward_path: ForwardPath) -> bool:
    return forward_path.mailbox.local_part.lower() in _ALWAYS


def _can_be_asked(lane: LaneSpec) -> bool:
    """A directory answers no RCPT: it takes whom it is given."""
    return any(hop.kind is not HopKind.MAILDIR for hop in lane.hops)
