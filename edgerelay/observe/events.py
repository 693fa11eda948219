"""Every event of the relay, one class each: the name, its fields and what they mean.

Fields hold plain values (text, numbers), already escaped where they came from outside. A
new event needs a class here, a line in docs/events.md, and nothing else.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Event(msgspec.Struct, tag_field="event", kw_only=True):
    """The base of every event. The tag is the name a log line carries."""


class Observer(Protocol):
    """Takes events. Never blocks, never raises: what it cannot take it counts."""

    def __call__(self, event: Event, /) -> None: ...


class Ready(Event, tag="ready"):
    """Every listener accepts."""

    listeners: list[str]  # "127.0.0.1:25"


class Reloaded(Event, tag="reloaded"):
    """The relay goes on with another configuration, or another certificate."""

    what: str


class Stopping(Event, tag="stopping"):
    reason: str


class Trouble(Event, tag="trouble"):
    """Something an operator should look at. ``where`` is a part of the program."""

    where: str
    what: str
    detail: str = ""


class WorkerStarted(Event, tag="worker_started"):
    worker: int
    pid: int


class WorkerEnded(Event, tag="worker_ended"):
    worker: int
    pid: int
    status: int  # as subprocess: negative is a signal
    expected: bool
    restart_in: float | None = None  # seconds


class ShardAdopted(Event, tag="shard_adopted"):
    """A worker delivers what another one left behind."""

    shard: str  # its directory below spool/
    messages: int


class ShardRemoved(Event, tag="shard_removed"):
    """Nothing is left in a shard that no worker needs for new mail."""

    shard: str


class SessionEnded(Event, tag="session"):
    """One connection, from the greeting to its end."""

    session: str  # the session's token, also in refusals
    client: str  # "192.0.2.1:4711"
    listener: str
    helo: str
    tls: str
    accepted: int  # messages
    refused: int  # recipients or messages answered 4yz or 5yz
    errors: int  # commands refused for their form or order
    octets: int  # received
    duration: float  # seconds
    end: str  # "quit", "lost", "timeout", "errors", "shutdown", "refused", ...
    tls_client: str = ""  # the name in a client certificate that was verified
    tls_failure: str = ""  # why there was no handshake


class TurnedAway(Event, tag="turned_away"):
    """A connection that got no session: a 421, and it was closed."""

    client: str
    listener: str
    why: str  # "full": all `connections` are taken


class Stress(Event, tag="stress"):
    """Nearly all places are taken, and waits are short; or they are not any more."""

    is_on: bool
    connections: int
    at_most: int


class Shed(Event, tag="shed"):
    """What was refused to protect the relay, and which lines were not written, lately."""

    refused: dict[str, int]  # by cause: "full", "no room", "too many connections", ...
    unwritten: dict[str, int]  # by the end of the session that has no line, or the cause
    seconds: float  # so long


class RecipientRefused(Event, tag="refused"):
    """MAIL, RCPT or a message was answered 4yz or 5yz."""

    session: str
    client: str
    helo: str
    command: str  # "mail", "rcpt", "data"
    reverse_path: str
    forward_path: str  # "" for MAIL and for a whole message
    reply: str
    policy: str = ""  # whose word it was


class MessageAccepted(Event, tag="message"):
    """A message is ours: it is durable and its 250 is on the way."""

    queue_id: str
    session: str
    client: str
    helo: str
    reverse_path: str
    recipients: int
    size: int  # octets, without our own fields
    duration: float  # seconds from MAIL to the commit
    score: float = 0.0  # that policies gave
    held: str = ""  # why a policy had it held


class Delivery(Event, tag="delivery"):
    """One attempt to hand one message's recipients of one lane to a next hop."""

    queue_id: str
    lane: str
    next_hop: str  # "192.0.2.1:25", or "" when none could be reached
    outcome: str  # "delivered", "deferred", "failed", "mixed"
    recipients: list[tuple[str, str]]  # (forward-path, reply)
    attempt: int
    delay: float  # seconds since arrival
    tls: str = ""


class Expired(Event, tag="expired"):
    """Recipients were given up after `expire`: reported, held, or silent if they wanted it so."""

    queue_id: str
    lane: str
    recipients: list[tuple[str, str]]  # (forward-path, the last reply)
    delay: float  # seconds since arrival


class LaneDown(Event, tag="lane_down"):
    """No next hop of a lane can be reached; everything in it waits."""

    lane: str
    reason: str
    retry_in: float  # seconds


class LaneUp(Event, tag="lane_up"):
    lane: str


class Reported(Event, tag="report"):
    """A delivery status notification was put into the queue (RFC 3464)."""

    queue_id: str  # of the report
    about: str  # queue id of the message
    kind: str  # "failed", "delayed", "delivered", "relayed"
    to: str
    recipients: list[str]


class Held(Event, tag="held"):
    """A message stays until an operator decides: by request, poison, or no one to report to."""

    queue_id: str
    lane: str
    reason: str


class MessageDiscarded(Event, tag="discarded"):
    """A policy had a message taken, with a 250, and dropped for these recipients."""

    queue_id: str
    session: str
    policy: str
    reason: str
    reverse_path: str
    recipients: list[str]


class PolicyFailed(Event, tag="policy_failed"):
    """A policy gave no answer of its own, so its ``on_error`` answered; or its task died."""

    policy: str
    stage: str  # "connect", "ehlo", "mail", "rcpt", "message"; "background"
    reason: str
    session: str = ""


class PolicyObserved(Event, tag="policy_observed"):
    """What a policy in observe mode would have said, where it is not what became of it."""

    policy: str
    stage: str
    verdict: str
    session: str


class PolicyNote(Event, tag="policy_note"):
    """A line that a policy wrote itself."""

    policy: str
    text: str
    facts: dict[str, str]


class Dropped(Event, tag="dropped"):
    """The event queue was full: this many events are missing before this line."""

    count: int
