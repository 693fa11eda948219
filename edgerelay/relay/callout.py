"""Does the next hop take this recipient? Asked with RCPT, answered mostly from memory.

What a hop said is kept in a table, so that it outlives us and serves all workers: it is
asked about one mailbox once a day, and mail goes on while it is down. Whether the
conversation itself went well is `edgerelay.relay.probe`'s business.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

import msgspec
import trio

from edgerelay.mail.address import ForwardPath
from edgerelay.mail.reply import Reply
from edgerelay.observe.escape import escape
from edgerelay.observe.events import Observer, Trouble
from edgerelay.relay.routing import LaneSpec
from edgerelay.runtime import Clock
from edgerelay.tables.api import Table, TableError

_DAY: Final = 86400.0  #: seconds
#: A mailbox that existed is believed in for a week of an unreachable hop (`queue.expire` is
#: 5 days), but asked about again after a day: mailboxes are removed, rarely in a hurry.
_POSITIVE: Final = 7 * _DAY
_REFRESH: Final = 1 * _DAY
#: A refusal is kept shortly: somebody creates the mailbox, and the sender tries again soon.
_NEGATIVE: Final = 15 * 60.0
#: Seconds a session waits; RFC 5321 section 4.5.3.2.3 lets its client wait 300. The hop gets
#: less, so that waiting for a turn is not taken for its failure.
_PATIENCE: Final = 30.0
_HOP_PATIENCE: Final = 25.0
_CONCURRENT: Final = 50  #: questions to hops at a time: a dictionary attack is not passed on
#: Seconds for which a lane that could not be asked is not asked again.
_DOWN: Final = 30.0
_REMEMBERED: Final = 20_000  #: mailboxes
_LANES_DOWN: Final = 1000  #: that are remembered; strangers may name domains

_UNSURE: Final = Reply(451, "4.4.3", "The recipient cannot be verified now; try again later")


class ProbeFailed(Exception):
    """The hop was not reached, or would not talk about recipients. For the operator."""


class Prober(Protocol):
    async def __call__(self, lane: LaneSpec, forward_path: ForwardPath) -> Reply:
        """Return the reply to RCPT, after MAIL FROM:<>. Raises `ProbeFailed` for anything
        that says nothing about the recipient: a greeting or a MAIL that was refused, too."""


class _Fact(msgspec.Struct, array_like=True, frozen=True):
    """What a hop said of a mailbox. ``refused`` is "" or an enhanced status code."""

    refused: str
    asked: float  #: wall clock


_decode = msgspec.msgpack.Decoder(_Fact).decode
_encode = msgspec.msgpack.Encoder().encode


class _Flight:
    """A question under way; ``outcome`` stays None if who asked was cancelled."""

    __slots__ = ("landed", "outcome")

    def __init__(self) -> None:
        self.landed = trio.Event()
        self.outcome: _Fact | Reply | None = None


class Callout:
    """Knows, asks and remembers. Every answer is None (it exists) or the reply to refuse with."""

    def __init__(self, table: Table, prober: Prober, observer: Observer, clock: Clock) -> None:
        self._table = table
        self._prober = prober
        self._observer = observer
        self._clock = clock
        self._facts: OrderedDict[str, _Fact] = OrderedDict()
        self._flights: dict[str, _Flight] = {}
        self._down_until: dict[str, float] = {}
        self._objecting: set[str] = set()
        self._slots = trio.Semaphore(_CONCURRENT)
        self._table_works = True

    def is_known(self, forward_path: ForwardPath) -> bool:
        """Say at once whether it is known, and fresh, that the recipient exists."""
        fact = self._facts.get(_key(forward_path))
        return fact is not None and not fact.refused and self._is_fresh(fact)

    async def ask(self, lane: LaneSpec, forward_path: ForwardPath) -> Reply | None:
        """Return None if the hop takes the recipient, else a 4yz or 5yz reply for it.

        Simultaneous questions about one mailbox are one.
        """
        key = _key(forward_path)
        while True:
            fact = self._facts.get(key)
            if fact is None or not self._is_fresh(fact):
                fact = await self._recall(key) or fact  # another worker may have asked
            if fact is not None and self._is_fresh(fact):
                return _reply(fact)
            flight = self._flights.get(key)
            if flight is None:
                return await self._fly(key, lane, forward_path, fact)
            await flight.landed.wait()
            if flight.outcome is not None:
                return _reply(flight.outcome)

    async def _fly(
        self, key: str, lane: LaneSpec, forward_path: ForwardPath, stale: _Fact | None
    ) -> Reply | None:
        flight = self._flights[key] = _Flight()
        try:
            flight.outcome = await self._probe(lane, forward_path)
        finally:
            del self._flights[key]
            if isinstance(flight.outcome, Reply) and stale and self._is_usable(stale):
                flight.outcome = stale
            flight.landed.set()
        if isinstance(flight.outcome, _Fact) and flight.outcome is not stale:
            await self._remember(key, flight.outcome)
        return _reply(flight.outcome)

    async def _probe(self, lane: LaneSpec, forward_path: ForwardPath) -> _Fact | Reply:
        """Return what the hop says, or the reply that says that it could not be asked."""
        with trio.move_on_after(_PATIENCE):
            await self._slots.acquire()
            try:
                return await self._probe_now(lane, forward_path)
            finally:
                self._slots.release()
        return _UNSURE

    async def _probe_now(self, lane: LaneSpec, forward_path: ForwardPath) -> _Fact | Reply:
        now = trio.current_time()
        if self._down_until.get(lane.name, now) > now:
            return _UNSURE
        try:
            with trio.fail_after(_HOP_PATIENCE):
                reply = await self._prober(lane, forward_path)
        except (ProbeFailed, trio.TooSlowError) as error:
            reason = str(error) or f"no answer within {_HOP_PATIENCE:.0f} s"
            self._lane_is_down(lane.name, reason)
            return _UNSURE
        self._down_until.pop(lane.name, None)
        if reply.code >= 300:
            status = _status(reply)
            if reply.is_permanent and status is None:
                self._objects_to_us(lane.name, reply)
            # A transient one is about this recipient alone: greylisted, over quota, ...
            return _UNSURE if status is None else _Fact(status, self._clock())
        self._objecting.discard(lane.name)
        return _Fact("", self._clock())

    def _objects_to_us(self, lane: str, reply: Reply) -> None:
        """Told once, until it takes a recipient again; and others may still be asked about."""
        if lane not in self._objecting:
            what = f"{lane} objects to us, and recipients cannot be verified"
            self._observer(Trouble(where="callout", what=what, detail=escape(str(reply), 300)))
        if len(self._objecting) < _LANES_DOWN:
            self._objecting.add(lane)

    def _lane_is_down(self, lane: str, reason: str) -> None:
        if lane not in self._down_until:
            what = f"recipients of {lane} cannot be verified"
            self._observer(Trouble(where="callout", what=what, detail=reason))
        self._down_until[lane] = trio.current_time() + _DOWN
        if len(self._down_until) > _LANES_DOWN:
            del self._down_until[next(iter(self._down_until))]

    def _is_fresh(self, fact: _Fact) -> bool:
        return 0 <= self._clock() - fact.asked < (_NEGATIVE if fact.refused else _REFRESH)

    def _is_usable(self, fact: _Fact) -> bool:
        return not fact.refused and self._clock() - fact.asked < _POSITIVE

    async def _recall(self, key: str) -> _Fact | None:
        try:
            value = await self._table.get(key)
            fact = None if value is None else _decode(value)
        except (TableError, msgspec.DecodeError) as error:
            self._table_failed(error)
            return None
        if fact is not None:
            self._hold(key, fact)
        return fact

    async def _remember(self, key: str, fact: _Fact) -> None:
        self._hold(key, fact)
        lasts = _NEGATIVE if fact.refused else _POSITIVE
        try:
            await self._table.put(key, _encode(fact), expires_in=lasts)
        except TableError as error:
            self._table_failed(error)
        else:
            self._table_works = True

    def _hold(self, key: str, fact: _Fact) -> None:
        self._facts[key] = fact
        self._facts.move_to_end(key)
        if len(self._facts) > _REMEMBERED:
            self._facts.popitem(last=False)

    def _table_failed(self, error: Exception) -> None:
        if self._table_works:
            what = "what next hops said of recipients is not remembered"
            self._observer(Trouble(where="callout", what=what, detail=str(error)))
        self._table_works = False


def _key(forward_path: ForwardPath) -> str:
    mailbox = forward_path.mailbox
    return f"{mailbox.local_part}@{mailbox.domain_key}"


def _status(reply: Reply) -> str | None:
    """What a refusal says of the mailbox (RFC 3463 sections 3.2 and 3.3); None: nothing.

    Without a word of its own about the mailbox a reply means it all the same (RFC 5321 section
    4.2.2), unless its code is one for our commands or for us: wrong ones are no proof that nobody
    lives there, and mail would be lost to a mailbox that exists.
    """
    if not reply.is_permanent or reply.enhanced in _OF_THE_SENDER:
        return None
    if reply.enhanced.startswith(("5.1.", "5.2.")) or reply.enhanced == "5.6.7":
        return reply.enhanced
    is_of_a_mailbox = reply.code in _OF_MAILBOXES and reply.enhanced in _SAYS_NOTHING_ELSE
    return "5.1.1" if is_of_a_mailbox else None


_OF_THE_SENDER: Final = frozenset({"5.1.7", "5.1.8"})
_OF_MAILBOXES: Final = frozenset({550, 551, 553, 554, 556})
#: No word of its own, or that by which Exchange means an unknown mailbox.
_SAYS_NOTHING_ELSE: Final = frozenset({"", "5.0.0", "5.4.1"})


def _reply(outcome: _Fact | Reply | None) -> Reply | None:
    if not isinstance(outcome, _Fact):
        return outcome
    if not outcome.refused:
        return None
    if outcome.refused == "5.1.1":
        return Reply(550, "5.1.1", "There is no such mailbox here")
    return Reply(550, outcome.refused, "The mailbox takes no mail")
