"""`edgerelay serve`: from a checked configuration to an exit code.

Order matters: lock, bind, drop privileges, and only then the first task. What goes wrong
before that is exit code 2 and nothing was started.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import trio

from edgerelay import __version__
from edgerelay.config import Config
from edgerelay.control.assignment import Assignment
from edgerelay.control.merge import complete_status, merge
from edgerelay.control.messages import LanesAnswered, Request, Response
from edgerelay.control.server import serve_control
from edgerelay.observe.events import Observer, Ready, Stopping, Trouble
from edgerelay.observe.log import LogWriter
from edgerelay.supervisor.clients import share_counts
from edgerelay.supervisor.notify import notify
from edgerelay.supervisor.start import (
    StartError,
    bind,
    bound_name,
    drop_privileges,
    lock_state,
    prepare_process,
)
from edgerelay.supervisor.worker import Worker

#: Seconds a worker gets after its sessions ended, to read the reply to a final dot (30 s)
#: and to close its spool.
AFTER_DRAIN: Final = 35.0


def serve(config: Config, *, origin: Path) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0, or 2 if nothing was started."""
    with ExitStack() as stack:
        try:
            prepare_process()
            lock = lock_state(config.state_dir)
            stack.callback(os.close, lock)
            sockets = [
                stack.enter_context(bind(host, port)) for host, port in config.listener_addresses
            ]
            (config.state_dir / "spool").mkdir(mode=0o700, exist_ok=True)
            warning = drop_privileges(
                config.user, explicit=config.user_is_explicit, state_dir=config.state_dir
            )
        except StartError as error:
            print(f"edgerelay: {origin}: {error}", file=sys.stderr)
            return 2
        with LogWriter(sys.stderr, clock=time.time) as log:  # noqa: TID251 - the one real clock
            if warning:
                log(Trouble(where="start", what=warning))
            return trio.run(Supervisor(config, sockets, log).run)


class Supervisor:
    """The workers, what is shared among them, and the way out."""

    def __init__(
        self, config: Config, sockets: Sequence[socket.socket], observer: Observer
    ) -> None:
        self._config = config
        self._listeners = [bound_name(listening) for listening in sockets]
        self._observer = observer
        self._started = time.monotonic()
        fds = tuple(listening.fileno() for listening in sockets)
        self._workers = [
            Worker(self._assignment(number, fds), observer, self._pass_on)
            for number in range(config.workers)
        ]
        self._telling: trio.Nursery | None = None

    def _assignment(self, number: int, fds: tuple[int, ...]) -> Assignment:
        config = self._config
        return Assignment(
            worker=number,
            state_dir=config.state_dir,
            shard=config.state_dir / "spool" / str(number),
            edge=config.edge(),
            relay=config.relay(),
            listeners=config.listeners,
            listener_fds=fds,
            tls_files=config.tls_files,
            dns_servers=config.dns_servers,
            dns_timeout=config.dns_timeout,
            min_free_space=config.min_free_space,
            drain=config.drain,
            tables_backend=config.tables_backend,
            policies=config.policies,
        )

    async def run(self) -> int:
        """The whole life of the relay; the value is the exit code."""
        self._warn_of_shards_without_owner()
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(serve_control, self._config.state_dir / "control.sock", self._answer)
            )
            nursery.start_soon(share_counts, self._workers, self._config.edge())
            nursery.start_soon(self._announce)
            self._telling = nursery
            async with trio.open_nursery() as workers:
                workers.start_soon(self._end_on_signal, workers)
                async with trio.open_nursery() as keeping:
                    for worker in self._workers:
                        keeping.start_soon(self._keep, worker)
                workers.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        return 2 if any(worker.refused_to_start for worker in self._workers) else 0

    async def _keep(self, worker: Worker) -> None:
        await worker.keep()
        if worker.refused_to_start:
            # It said why; what keeps one from starting would keep the others, or must not be
            # touched.
            for other in self._workers:
                await other.drain(0)

    def _pass_on(self, number: int, message: LanesAnswered) -> None:
        """What one worker found out, the others need not wait to find out."""
        for worker in self._workers:
            if self._telling is not None and worker.number != number:
                self._telling.start_soon(worker.tell_lanes_answered, message)

    async def _announce(self) -> None:
        for worker in self._workers:
            await worker.ready.wait()
        self._observer(Ready(listeners=self._listeners))
        notify("READY=1")

    async def _end_on_signal(self, workers: trio.Nursery) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                self._observer(Stopping(reason=signal.Signals(number).name))
                notify("STOPPING=1")
                within = self._config.drain
                async with trio.open_nursery() as telling:
                    for worker in self._workers:
                        telling.start_soon(worker.drain, within)
                workers.start_soon(self._kill_after, within + AFTER_DRAIN)

    async def _kill_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        for worker in self._workers:
            worker.kill()

    async def _answer(self, request: Request) -> Response:
        answers: list[Response] = []

        async def ask(worker: Worker) -> None:
            answers.append(await worker.ask(request))

        async with trio.open_nursery() as asking:
            for worker in self._workers:
                asking.start_soon(ask, worker)
        merged = merge(request, answers)
        return complete_status(
            merged,
            version=__version__,
            uptime=time.monotonic() - self._started,
            pid=os.getpid(),
            listeners=self._listeners,
            processes=[(worker.number, worker.pid, worker.restarts) for worker in self._workers],
            shards_without_owner=self._shards_without_owner(),
        )

    def _shards_without_owner(self) -> list[str]:
        spool = self._config.state_dir / "spool"
        owned = {str(worker.number) for worker in self._workers}
        return sorted(path.name for path in spool.iterdir() if path.name not in owned)

    def _warn_of_shards_without_owner(self) -> None:
        if orphans := self._shards_without_owner():
            self._observer(
                Trouble(
                    where="spool",
                    what="shards without a worker: their mail waits until `workers` is larger",
                    detail=", ".join(orphans),
                )
            )
