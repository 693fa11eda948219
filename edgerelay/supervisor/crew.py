"""The workers: those who serve, and those of before who finish what they have.

A generation has one configuration. The next one is ready before the last one leaves, so at no
moment does nobody accept; whoever leaves has as long as its sessions last.
"""

from __future__ import annotations

from itertools import count
from typing import Final

import trio

from edgerelay.config import Config
from edgerelay.control.assignment import Assignment
from edgerelay.control.messages import Certificate, LanesAnswered
from edgerelay.observe.events import Observer
from edgerelay.supervisor.shards import Shards
from edgerelay.supervisor.sockets import Sockets
from edgerelay.supervisor.worker import Worker

#: Seconds in which a new generation must be ready: policies get 20 s to open.
READY_WITHIN: Final = 60.0


class NotReady(Exception):
    """The next generation cannot serve; the last one goes on. The text is for the operator."""


class Crew:
    """``keeping`` runs the workers' keepers, ``telling`` what they tell each other."""

    def __init__(
        self, config: Config, keeping: trio.Nursery, telling: trio.Nursery, observer: Observer
    ) -> None:
        self.living: Final[list[Worker]] = []  #: of all generations
        self.serving: list[Worker] = []
        self.shards: Final = Shards(config.state_dir / "spool", self.living, observer)
        self._keeping = keeping
        self._telling = telling
        self._observer = observer
        self._numbers: Final = count()

    def begin(self, config: Config, sockets: Sockets) -> None:
        """Start the first generation."""
        self.serving = self._hire(config, sockets)

    async def ready(self) -> None:
        """Return when all who serve are ready, which may be never."""
        for worker in self.serving:
            await worker.ready.wait()

    async def succeed(self, config: Config, sockets: Sockets) -> None:
        """Start another generation and have the present one leave. Raises `NotReady`.

        If it is not ready in time, or this is cancelled, it is the new one that leaves.
        """
        following = self._hire(config, sockets)
        try:
            with trio.move_on_after(READY_WITHIN) as patience:
                await _all_ready(following)
            if patience.cancelled_caught:
                raise NotReady(f"the new workers were not ready within {READY_WITHIN:g} s")
        except BaseException:
            with trio.CancelScope(shield=True):  # it only writes to sockets of ours
                await self._dismiss(following)
            raise
        leaving, self.serving = self.serving, following
        await self._dismiss(leaving)

    async def renew(self, certificate: Certificate) -> None:
        """Give everybody another certificate, sessions that go on included."""
        for worker in list(self.living):
            await worker.renew(certificate)

    async def drain(self, within: float) -> None:
        """Have everybody leave: sessions get ``within`` seconds."""
        async with trio.open_nursery() as telling:
            for worker in list(self.living):
                telling.start_soon(worker.drain, within)

    def kill(self) -> None:
        for worker in self.living:
            worker.kill()

    async def _dismiss(self, workers: list[Worker]) -> None:
        for worker in workers:
            await worker.drain(None)

    def _hire(self, config: Config, sockets: Sockets) -> list[Worker]:
        hired = []
        for _ in range(config.workers):
            assignment = _assignment(next(self._numbers), config, sockets)
            worker = Worker(
                assignment,
                self._observer,
                self._pass_on,
                self.shards.for_a_start,
                self.shards.look,
            )
            self.living.append(worker)
            self._keeping.start_soon(self._keep, worker)
            hired.append(worker)
        return hired

    async def _keep(self, worker: Worker) -> None:
        try:
            await worker.keep()
        finally:
            self.living.remove(worker)
        if worker.refusal and worker in self.serving:
            # It said why; what keeps one from starting would keep the others, or must not be
            # touched.
            await self.drain(0)

    def _pass_on(self, number: int, message: LanesAnswered) -> None:
        """What one worker found out, the others need not wait to find out."""
        for worker in self.living:
            if worker.number != number:
                self._telling.start_soon(worker.tell_lanes_answered, message)


async def _all_ready(workers: list[Worker]) -> None:
    """Raises `NotReady` as soon as one refuses to start."""
    async with trio.open_nursery() as waiting:
        for worker in workers:
            waiting.start_soon(worker.ready_or_refused)
    if refusals := [worker.refusal for worker in workers if worker.refusal]:
        raise NotReady(refusals[0])


def _assignment(number: int, config: Config, sockets: Sockets) -> Assignment:
    listening = [
        (settings, fd)
        for settings, group in zip(config.listeners, sockets.groups, strict=True)
        for fd in group
    ]
    return Assignment(
        worker=number,
        state_dir=config.state_dir,
        shard="",
        edge=config.edge(),
        relay=config.relay(),
        listeners=tuple(settings for settings, _ in listening),
        listener_fds=tuple(fd for _, fd in listening),
        tls_files=config.tls_files,
        dns_servers=config.dns_servers,
        dns_timeout=config.dns_timeout,
        min_free_space=config.min_free_space,
        drain=config.drain,
        tables_backend=config.tables_backend,
        policies=config.policies,
    )
