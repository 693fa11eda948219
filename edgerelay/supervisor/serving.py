"""`edgerelay serve`: from a checked configuration to an exit code.

Order matters: lock, bind, drop privileges, and only then the first task. What goes wrong
before that is exit code 2 and nothing was started.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Never

import msgspec
import trio

from edgerelay import __version__
from edgerelay.config import Config
from edgerelay.control.merge import complete_status, merge
from edgerelay.control.messages import (
    Certificate,
    Failure,
    QueueAct,
    QueueActed,
    QueueListing,
    QueueMessage,
    Reload,
    Reloaded,
    Request,
    Response,
    StatusRequest,
    WorkerRequest,
)
from edgerelay.control.server import serve_control
from edgerelay.observe import events
from edgerelay.observe.events import Observer, Ready, Stopping, Trouble
from edgerelay.observe.log import LogWriter
from edgerelay.supervisor.certificates import LOOK_EVERY, CertificateWatch
from edgerelay.supervisor.clients import share_counts
from edgerelay.supervisor.crew import Crew, NotReady
from edgerelay.supervisor.notify import Manager
from edgerelay.supervisor.reloading import (
    ReloadRefused,
    is_certificate_alone,
    read_again,
    refuse_what_needs_a_restart,
)
from edgerelay.supervisor.sockets import Sockets
from edgerelay.supervisor.start import (
    StartError,
    drop_privileges,
    lock_state,
    prepare_process,
)
from edgerelay.supervisor.worker import Worker

#: Seconds a worker gets after its sessions ended, to read the reply to a final dot (30 s)
#: and to close its spool.
AFTER_DRAIN: Final = 35.0
#: Seconds that the end takes after the last worker's.
LAST_STEPS: Final = 5.0
#: Seconds that a question about the queue waits for shards that are being adopted.
OWNED_WITHIN: Final = 3.0
#: So often a question that changes nothing is asked, should a worker leave before it answers.
ASKED_AGAIN: Final = 4


def serve(config: Config, *, origin: Path) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0, or 2 if nothing was started."""
    manager = Manager()
    with ExitStack() as stack:
        try:
            prepare_process()
            lock = lock_state(config.state_dir)
            stack.callback(os.close, lock)
            sockets = Sockets.at_the_start(config.listener_addresses)
            stack.callback(sockets.close_all_but)
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
            for name in sockets.unused:
                log(Trouble(where="start", what=f"no listener uses the passed socket fd:{name}"))
            return trio.run(Supervisor(config, origin.absolute(), sockets, manager, log).run)


class Supervisor:
    """The workers, what is shared among them, the next configuration, and the way out."""

    def __init__(
        self,
        config: Config,
        origin: Path,
        sockets: Sockets,
        manager: Manager,
        observer: Observer,
    ) -> None:
        self._config = config
        self._origin = origin
        self._sockets = sockets
        self._manager = manager
        self._observer = observer
        self._started = time.monotonic()
        self._reloading = trio.Lock()
        self._is_ending = False
        self._reload_scope = trio.CancelScope()  # of the present reload

    async def run(self) -> int:
        """The whole life of the relay; the value is the exit code."""
        async with trio.open_nursery() as services:
            await services.start(
                partial(serve_control, self._config.state_dir / "control.sock", self._answer)
            )
            async with trio.open_nursery() as signals:
                async with trio.open_nursery() as keeping:
                    self._crew = Crew(self._config, keeping, services, self._observer)
                    self._crew.begin(self._config, self._sockets)
                    services.start_soon(self._crew.shards.run)
                    services.start_soon(share_counts, self._crew.living, self._fewest)
                    services.start_soon(self._watch_certificates)
                    services.start_soon(self._announce)
                    services.start_soon(self._manager.watch)
                    self._services = services
                    signals.start_soon(self._obey_signals, signals)
                signals.cancel_scope.cancel()
            services.cancel_scope.cancel()
        return 2 if any(worker.refusal for worker in self._crew.serving) else 0

    def _fewest(self) -> int:
        edge = self._config.edge()
        return min(edge.connections_per_client, edge.connections_per_network)

    async def _announce(self) -> None:
        await self._crew.ready()
        self._observer(Ready(listeners=self._sockets.names))
        if not self._is_ending:
            self._manager.ready(self._status())

    def _status(self) -> str:
        return f"{self._config.workers} workers on {', '.join(self._sockets.names)}"

    async def _obey_signals(self, ending: trio.Nursery) -> None:
        wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with trio.open_signal_receiver(*wanted) as signals:
            async for number in signals:
                if number == signal.SIGHUP:
                    # One that waits already will read what there is to be read now.
                    if not self._reloading.statistics().tasks_waiting:
                        self._services.start_soon(self._reload)
                    continue
                self._observer(Stopping(reason=signal.Signals(number).name))
                within = self._config.drain
                self._manager.stopping(within + AFTER_DRAIN + LAST_STEPS)
                self._is_ending = True
                self._reload_scope.cancel()
                await self._crew.drain(within)
                ending.start_soon(self._kill_after, within + AFTER_DRAIN)

    async def _kill_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._crew.kill()

    # -- the next configuration --------------------------------------------------------------

    async def _reload(self) -> Response:
        """Go on with what the file says now, or as before; one at a time. It tells the log."""
        async with self._reloading:
            self._manager.reloading()
            problems = ["the relay is about to end"]
            try:
                with trio.CancelScope() as self._reload_scope:
                    if self._is_ending:
                        self._reload_scope.cancel()
                    done = await self._reload_now()
                    self._observer(events.Reloaded(what=done))
                    return Reloaded(text=done)
            except ReloadRefused as refused:
                problems = refused.problems
            except Exception as error:  # whatever it is, the relay that runs goes on
                problems = [f"{type(error).__name__}: {error}"]
            finally:
                if not self._is_ending:
                    self._manager.ready(self._status())
        for problem in problems:
            self._observer(Trouble(where="reload", what="refused", detail=problem))
        return Failure(text="\n".join(problems))

    async def _reload_now(self) -> str:
        config = await read_again(self._origin)
        refuse_what_needs_a_restart(self._config, config, self._origin)
        if config.tls_files and is_certificate_alone(self._config, config):
            await self._crew.renew(Certificate(files=config.tls_files))
            self._config = config
            return "the certificate was exchanged"
        try:
            sockets = self._sockets.changed_to(config.listener_addresses)
        except StartError as error:
            raise ReloadRefused([f"{self._origin}: {error}"]) from error
        try:
            await self._crew.succeed(config, sockets)
        except BaseException as error:
            sockets.close_all_but(self._sockets)
            if isinstance(error, NotReady):
                raise ReloadRefused([f"{self._origin}: {error}"]) from error
            raise
        self._sockets.close_all_but(sockets)
        self._config, self._sockets = config, sockets
        return f"{config.workers} new workers serve; those of before finish their sessions"

    async def _watch_certificates(self) -> Never:
        watch = CertificateWatch()
        while True:
            await trio.sleep(LOOK_EVERY)
            try:
                self._reloading.acquire_nowait()
            except trio.WouldBlock:
                continue  # a reload reads them, too
            try:
                await self._look_at_certificates(watch)
            finally:
                self._reloading.release()

    async def _look_at_certificates(self, watch: CertificateWatch) -> None:
        config = self._config
        if config.tls_paths is None or self._is_ending:
            return
        changed = await trio.to_thread.run_sync(watch.look, config.tls_paths, config.tls_signs)
        if changed is None:
            return
        for problem in changed.problems:
            what = "the certificates in use stay"
            self._observer(Trouble(where="tls", what=what, detail=problem))
        if changed.files is not None:
            if changed.files != config.tls_files:
                await self._crew.renew(Certificate(files=changed.files))
                self._observer(events.Reloaded(what="the certificate was exchanged"))
            self._config = replace(config, tls_files=changed.files, tls_signs=changed.signs)

    # -- questions ---------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        if isinstance(request, Reload):
            return await self._reload_for_somebody()
        if isinstance(request, StatusRequest):
            return await self._tell_status(request)
        for _ in range(ASKED_AGAIN):
            unseen = await self._crew.shards.all_owned(OWNED_WITHIN)
            # Who has never been ready has nothing that anybody could ask for.
            serving, living = self._crew.serving, self._crew.living
            workers = [each for each in living if each in serving or each.ready.is_set()]
            answer = merge(request, await _ask_all(workers, request))
            # One that was leaving may have ended before it answered: somebody else has it now.
            has_left = any(worker.is_leaving for worker in workers)
            if isinstance(request, QueueAct) or not (isinstance(answer, Failure) and has_left):
                break
        if isinstance(answer, QueueListing | QueueMessage | QueueActed):
            return msgspec.structs.replace(answer, unseen=tuple(unseen))
        return answer

    async def _tell_status(self, request: StatusRequest) -> Response:
        workers = list(self._crew.living)
        return complete_status(
            merge(request, await _ask_all(workers, request)),
            version=__version__,
            uptime=time.monotonic() - self._started,
            pid=os.getpid(),
            listeners=self._sockets.names,
            processes=[(worker.number, worker.pid, worker.restarts) for worker in workers],
            shards_without_owner=self._crew.shards.without_owner(),
        )

    async def _reload_for_somebody(self) -> Response:
        """Reload in a task of the supervisor's: who asked may go away meanwhile."""
        answers: list[Response] = []
        answered = trio.Event()

        async def reload() -> None:
            answers.append(await self._reload())
            answered.set()

        self._services.start_soon(reload)
        await answered.wait()
        return answers[0]


async def _ask_all(workers: list[Worker], request: WorkerRequest) -> list[Response]:
    answers: list[Response] = []

    async def ask(worker: Worker) -> None:
        answers.append(await worker.ask(request))

    async with trio.open_nursery() as asking:
        for worker in workers:
            asking.start_soon(ask, worker)
    return answers
