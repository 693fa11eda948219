"""What all sessions of a process share: settings, services, and the counts over all of them."""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, count, product
from typing import Final

from edgerelay.edge.boundary import Recipients, RouteTo, no_route
from edgerelay.edge.client import host_of
from edgerelay.edge.door import patience_of
from edgerelay.edge.limits import ClientLimits
from edgerelay.edge.settings import EdgeSettings, ListenerSettings, ListenerTls
from edgerelay.mail.address import Mailbox
from edgerelay.observe.events import Observer
from edgerelay.pipeline.policies import NO_POLICIES, Policies
from edgerelay.runtime import Clock
from edgerelay.smtp.extensions import Extensions
from edgerelay.spool.api import Spool

#: No vowels, nothing that looks like another: a token is read aloud on the telephone.
_LETTERS: Final = "23456789BCDFGHJKLMNPQRSTVWXZ"

#: New content is refused beyond `content_memory`; memory for what has begun goes as far as this.
_BEGUN: Final = 1.25
_BEGUN_AT_LEAST: Final = 1024 * 1024


class Shared:
    """Lives as long as its `Edge`."""

    __slots__ = (
        "_most_buffered",
        "_numbers",
        "_tag",
        "buffered",
        "clock",
        "content",
        "limits",
        "may_relay",
        "observer",
        "offers",
        "patience",
        "policies",
        "postmaster",
        "recipients",
        "result_names",
        "route_to",
        "settings",
        "spool",
        "stopping",
        "transactions",
    )

    def __init__(
        self,
        settings: EdgeSettings,
        spool: Spool,
        recipients: Recipients,
        observer: Observer,
        clock: Clock,
        limits: ClientLimits,
        policies: Policies = NO_POLICIES,
        route_to: RouteTo = no_route,
    ) -> None:
        self.policies = policies
        self.route_to = route_to
        self.settings = settings
        self.spool = spool
        self.recipients = recipients
        self.observer = observer
        self.clock = clock
        self.limits = limits
        self.postmaster = Mailbox.from_text(
            settings.postmaster or f"postmaster@{settings.hostname}"
        )
        #: Who may not be said to have checked a message before us; the first is ourselves.
        self.result_names = (
            settings.authserv_id or settings.hostname,
            *settings.remove_results_of,
        )
        self.content = 0  #: octets of content in flight
        self.buffered = 0  #: those of them that are in memory
        self.patience = patience_of(settings)  #: with clients, at this moment
        self._most_buffered = int(settings.content_memory * _BEGUN) + _BEGUN_AT_LEAST
        self.offers = Offers(settings)
        self.transactions = 0  #: open mail transactions
        self.stopping = False
        # Microseconds at the start tell workers, and one worker's lives, apart.
        self._tag = _letters(int(clock() * 1e6) % len(_LETTERS) ** 4)
        self._numbers = chain.from_iterable(product(_LETTERS, repeat=n) for n in count(1))
        #: Whether the network of an address, given as text, may relay anywhere.
        self.may_relay = lru_cache(maxsize=4096)(self._is_in_relay_from)

    def new_token(self) -> str:
        """A session's name, for refusals and events."""
        return self._tag + "".join(next(self._numbers))

    def _is_in_relay_from(self, address: str) -> bool:
        return host_of(address).is_in(self.settings.relay_from)

    @property
    def has_memory(self) -> bool:
        """Content that has begun to come may go on. What is in files is the disk's to bound."""
        return self.buffered <= self._most_buffered

    @property
    def has_room(self) -> bool:
        """Neither the disk nor the content in flight forbids another message."""
        return self.spool.accepts_mail and self.content < self.settings.content_memory


class Offers:
    """What each listener offers in the clear. A session a connection makes it worth keeping, and
    by identity: to hash all that a listener is told takes longer than to make it anew."""

    __slots__ = ("_kept", "_settings")

    def __init__(self, settings: EdgeSettings) -> None:
        self._settings = settings
        self._kept: dict[int, tuple[ListenerSettings, Extensions]] = {}

    def of(self, listener: ListenerSettings) -> Extensions:
        kept = self._kept.get(id(listener))
        if kept is None:
            kept = self._kept[id(listener)] = (listener, self._made_for(listener))
        return kept[1]

    def _made_for(self, listener: ListenerSettings) -> Extensions:
        has_starttls = listener.tls in (ListenerTls.STARTTLS, ListenerTls.REQUIRED)
        return Extensions(
            size=self._settings.message_size,
            starttls=has_starttls and listener.certificate is not None,
            recipients=self._settings.recipients_per_message,
            binarymime=listener.binarymime,
            requiretls=listener.tls is ListenerTls.IMPLICIT,
            prdr=True,
        )


def _letters(number: int) -> str:
    """Always four of them, so that no two tokens can look the same."""
    text = ""
    for _ in range(4):
        number, digit = divmod(number, len(_LETTERS))
        text = _LETTERS[digit] + text
    return text
