"""Each question is asked once: later ones read the answer, simultaneous ones wait for it.

The cache is what makes the DNS cheap: a question to a server costs more CPU than a whole
mail transaction, a hit about a microsecond. It knows nothing of packets or servers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import trio

from edgerelay.dns.answer import Answer, Mx, Record, Resolver, Status, canonical
from edgerelay.observe.events import Observer, Trouble

#: Seconds for which an answer is kept, at least and at most, whatever its own TTL says: a
#: TTL of 0 would undo the cache, and a slip of a week would outlast its correction.
_KEPT: Final = {
    Status.FOUND: (10.0, 86400.0),
    Status.NO_DATA: (10.0, 900.0),  # RFC 2308 section 5 allows hours
    Status.NXDOMAIN: (10.0, 900.0),
    Status.TEMPORARY: (10.0, 10.0),  # RFC 2308 section 7: at most five minutes
}
_IMPOSSIBLE: Final = Answer(Status.NXDOMAIN, ttl=86400.0)
_TEMPORARY: Final = Answer(Status.TEMPORARY)

#: Strangers choose what is looked up, and how long the answers are.
_CACHE_SIZE: Final = 16 * 1024 * 1024  #: octets, estimated
_OVERHEAD: Final = 700  #: octets of an entry besides its records' text
_CONCURRENT: Final = 200  #: questions to servers at the same time
_WAITING: Final = 2000  #: questions asked or waiting; beyond it the answer is TEMPORARY


class _Question:
    """A question under way and who waits for it."""

    __slots__ = ("answer", "answered")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer = _TEMPORARY


class CachingResolver:
    """A `Resolver` in front of another. Questions run in ``nursery``, so that one waiter's
    cancellation is not that of the others, and an abandoned answer is still kept.

    ``timeout`` is in seconds and bounds each question, its wait for a free slot included.
    """

    def __init__(
        self,
        upstream: Resolver,
        nursery: trio.Nursery,
        *,
        timeout: float = 5.0,
        observer: Observer = lambda event: None,
        cache_size: int = _CACHE_SIZE,
        concurrent: int = _CONCURRENT,
    ) -> None:
        self._upstream = upstream
        self._nursery = nursery
        self._timeout = timeout
        self._observer = observer
        self._room = cache_size
        self._slots = trio.Semaphore(concurrent)
        self._cache: OrderedDict[tuple[str, str], tuple[float, int, Answer]] = OrderedDict()
        self._asking: dict[tuple[str, str], _Question] = {}
        self.questions = 0  #: that went to the upstream, ever

    async def resolve(self, name: str, rdtype: str) -> Answer:
        """See `Resolver.resolve`. A hit returns at once, without a checkpoint."""
        known = canonical(name)
        if known is None:
            return _IMPOSSIBLE
        key = (known, rdtype)
        kept = self._cache.get(key)
        if kept is not None and kept[0] > trio.current_time():
            self._cache.move_to_end(key)
            return kept[2]
        question = self._asking.get(key)
        if question is None:
            if len(self._asking) >= _WAITING:
                return _TEMPORARY
            question = self._asking[key] = _Question()
            self._nursery.start_soon(self._ask, key, question)
        await question.answered.wait()
        return question.answer

    async def _ask(self, key: tuple[str, str], question: _Question) -> None:
        try:
            with trio.move_on_after(self._timeout):
                async with self._slots:
                    self.questions += 1
                    question.answer = await self._upstream.resolve(*key)
            question.answer = self._keep(key, question.answer)
        except Exception as error:  # one odd answer must not end the nursery we were lent
            detail = f"{key[0]} {key[1]}: {error!r}"
            self._observer(Trouble(where="dns", what="a question failed", detail=detail))
        finally:
            del self._asking[key]
            question.answered.set()

    def _keep(self, key: tuple[str, str], answer: Answer) -> Answer:
        least, most = _KEPT[answer.status]
        ttl = min(max(answer.ttl, least), most)
        clamped = Answer(answer.status, answer.records, ttl, answer.authentic)
        size = _OVERHEAD + len(key[0]) + sum(map(_size, answer.records))
        self._forget(key)
        self._cache[key] = (trio.current_time() + ttl, size, clamped)
        self._room -= size
        while self._room < 0:
            self._forget(next(iter(self._cache)))
        return clamped

    def _forget(self, key: tuple[str, str]) -> None:
        _, size, _ = self._cache.pop(key, (0.0, 0, _TEMPORARY))
        self._room += size


def _size(record: Record) -> int:
    """Octets that a record takes, roughly."""
    match record:
        case str():
            return 60 + len(record)
        case Mx():
            return 110 + len(record.host)
        case _:
            return 60 + sum(40 + len(string) for string in record)
