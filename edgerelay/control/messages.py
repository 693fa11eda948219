"""Every message of the control socket and of the pair between supervisor and worker.

Plain values with a tag each, so that one decoder reads them all. Times are wall clock
(seconds since the epoch), durations seconds, sizes octets. Text that came from outside is
escaped where it is put in here.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgerelay.net.key_pairs import TlsFiles
from edgerelay.spool.api import Filter

#: Entries in one listing unless the question says otherwise.
DEFAULT_LIMIT = 1000

Action = Literal["flush", "hold", "release", "delete"]


class Tagged(msgspec.Struct, tag_field="is", tag=True, kw_only=True, frozen=True):
    """The base of every message."""


# What an operator asks, and the answers.


class StatusRequest(Tagged, frozen=True):
    """How are things?"""


class QueueList(Tagged, frozen=True):
    """Deliveries that match, oldest first, at most ``limit``."""

    filter: Filter = Filter()
    limit: int = DEFAULT_LIMIT


class QueueShow(Tagged, frozen=True):
    """One message with all its deliveries."""

    queue_id: str


class QueueAct(Tagged, frozen=True):
    """Do it to the deliveries of the messages in ``ids`` that match ``filter``.

    ``ids`` empty: to all that match. A filter that names nothing matches everything, which
    is refused without ``everything``.
    """

    action: Action
    ids: tuple[str, ...] = ()
    filter: Filter = Filter()
    everything: bool = False
    reason: str = ""  # of a hold


class Reload(Tagged, frozen=True):
    """Read the configuration again and go on with it."""


WorkerRequest = StatusRequest | QueueList | QueueShow | QueueAct
Request = WorkerRequest | Reload


class EntryRecipient(msgspec.Struct, kw_only=True, frozen=True):
    forward_path: str
    last_reply: str = ""


class QueueEntry(msgspec.Struct, kw_only=True, frozen=True):
    """One delivery: a message's recipients of one lane."""

    queue_id: str
    lane: str
    status: str  # "queued", "held"
    reason: str  # why it is held
    arrived: float
    due: float
    lane_paused_until: float  # 0: it is not paused
    attempts: int
    size: int
    reverse_path: str  # "<user@example.com>", "<>"
    client: str
    helo: str
    recipients: tuple[EntryRecipient, ...]  # a listing holds the first few of them
    recipient_count: int
    about: str = ""  # a report names the message it is about


class QueueListing(Tagged, frozen=True):
    """``cut``: there are more than were asked for. ``unseen``: shards that nobody could ask."""

    entries: tuple[QueueEntry, ...]
    cut: bool = False
    unseen: tuple[str, ...] = ()


class QueueMessage(Tagged, frozen=True):
    """``entries`` is empty if no such message is here; ``header`` is its header, escaped."""

    entries: tuple[QueueEntry, ...]
    header: str = ""
    header_cut: bool = False
    unseen: tuple[str, ...] = ()


class QueueActed(Tagged, frozen=True):
    """``deliveries`` were acted on; ``missing``: ids of which nothing matched."""

    deliveries: int
    missing: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


class LaneStatus(msgspec.Struct, kw_only=True, frozen=True):
    """A lane in one worker. ``paused_until`` 0: it is not paused."""

    name: str
    queued: int  # deliveries in memory
    active: int  # connections
    paused_until: float = 0.0
    last_failure: str = ""


class QueueStatus(msgspec.Struct, kw_only=True, frozen=True):
    messages: int = 0
    queued: int = 0  # deliveries
    held: int = 0  # deliveries
    octets: int = 0  # of content
    free: int = 0  # octets new mail may take
    accepting: bool = True


class WorkerStatus(Tagged, frozen=True):
    """One worker's part of the status, and the answer it gives to `StatusRequest`."""

    worker: int
    pid: int
    state: str = "running"  # "starting", "running", "draining", "not answering"
    restarts: int = 0
    shards: tuple[str, ...] = ()  # its own first, then those it adopted
    counts: dict[str, int] = {}  # since the worker started: see `edgerelay.observe.counters`
    gauges: dict[str, int] = {}  # now: "sessions", "content in flight", ...
    queue: QueueStatus = QueueStatus()
    lanes: tuple[LaneStatus, ...] = ()
    policies: dict[str, dict[str, int]] = {}  # by name: see `edgerelay.pipeline.counts`
    dropped_events: int = 0


class StatusAnswer(Tagged, frozen=True):
    """The whole relay. ``shards_without_owner`` are to be adopted by one of the workers."""

    version: str
    uptime: float
    pid: int
    listeners: tuple[str, ...]
    workers: tuple[WorkerStatus, ...]
    shards_without_owner: tuple[str, ...] = ()


class Reloaded(Tagged, frozen=True):
    """The relay goes on with the new configuration; ``text`` says what was done for it."""

    text: str


class Failure(Tagged, frozen=True):
    """It could not be answered; the text is for the operator."""

    text: str


Response = (
    WorkerStatus | StatusAnswer | QueueListing | QueueMessage | QueueActed | Reloaded | Failure
)


# Between supervisor and worker.


class Configure(Tagged, frozen=True):
    """The first message to a worker: its settings, as octets that only the two can read."""

    settings: bytes


class WorkerReady(Tagged, frozen=True):
    """Its spool is recovered and it accepts."""


class Refuses(Tagged, frozen=True):
    """It cannot serve whatever is tried, says why, and ends."""

    text: str


class Owns(Tagged, frozen=True):
    """The shards that this worker owns now, its own first."""

    shards: tuple[str, ...]


class Adopt(Tagged, frozen=True):
    """Deliver from that shard too, if its lock can be had; `Owns` says whether it could."""

    shard: str


class Certificate(Tagged, frozen=True):
    """Handshakes take these from now on."""

    files: TlsFiles


class Heartbeat(Tagged, frozen=True):
    """It lives."""


class ClientCounts(Tagged, frozen=True):
    """Connections per client in this worker, and those new since the last report."""

    counts: dict[str, int]
    arrivals: dict[str, int] = {}


class OthersCounts(Tagged, frozen=True):
    """Connections per client in the other workers, and those new since they were last told."""

    counts: dict[str, int]
    arrivals: dict[str, int] = {}


class LanesAnswered(Tagged, frozen=True):
    """A next hop answered after an outage: what waits for it elsewhere is due as well."""

    lanes: tuple[str, ...]


class Drain(Tagged, frozen=True):
    """Stop accepting. Sessions get ``within`` seconds; None: as long as they last.

    Then somebody else serves already, and the worker's shard is not needed any more.
    """

    within: float | None


class Ask(Tagged, frozen=True):
    """A question passed on; the `Answer` carries the same ``id``."""

    id: int
    request: WorkerRequest


class Answer(Tagged, frozen=True):
    id: int
    response: Response


Message = (
    Request
    | Response
    | Configure
    | WorkerReady
    | Refuses
    | Owns
    | Adopt
    | Certificate
    | Heartbeat
    | ClientCounts
    | OthersCounts
    | LanesAnswered
    | Drain
    | Ask
    | Answer
)
