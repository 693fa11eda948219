"""`edgerelay status`: what the running relay does, for people and for programs."""

from __future__ import annotations

import time
from collections import Counter

import click

from edgerelay.cli.options import config_option, config_path, json_option
from edgerelay.cli.output import (
    NotSo,
    octets_text,
    plural,
    print_json,
    print_table,
    seconds_text,
)
from edgerelay.config.reading import state_dir_of
from edgerelay.control.client import NoAnswer, NotRunning, ask, control_socket
from edgerelay.control.messages import LaneStatus, StatusAnswer, StatusRequest, WorkerStatus


@click.command()
@config_option
@json_option
def status(as_json: bool) -> None:
    """Show workers, listeners, the queue and the lanes of the running relay.

    Exit code 1 if it is not running.
    """
    state_dir = state_dir_of(config_path())
    try:
        answer = ask(control_socket(state_dir), StatusRequest(), timeout=30)
    except NotRunning as error:
        raise NotSo(str(error)) from error
    except (NoAnswer, PermissionError) as error:
        raise NotSo(f"cannot ask the relay on {state_dir}: {error}") from error
    if not isinstance(answer, StatusAnswer):
        raise NotSo("the relay gave no status")
    if as_json:
        print_json(answer)
    else:
        _print(answer)


def _print(answer: StatusAnswer) -> None:
    click.echo(
        f"edgerelay {answer.version}, pid {answer.pid}, up {seconds_text(answer.uptime)}, "
        f"listening on {', '.join(answer.listeners) or 'nothing'}"
    )
    _print_queue(answer)
    click.echo()
    print_table(
        ["Worker", "PID", "State", "Sessions", "Accepted", "Refused", "Delivered", "Deferred",
         "Failed", "Restarts"],
        [_worker_row(worker) for worker in answer.workers],
    )  # fmt: skip
    _print_lanes(answer)
    _print_gauges(answer)
    if dropped := sum(worker.dropped_events for worker in answer.workers):
        click.echo(f"\n{plural(dropped, 'event was', 'events were')} dropped from the log")
    if answer.shards_without_owner:
        shards = ", ".join(answer.shards_without_owner)
        click.echo(f"\nMail waits in shards that no worker has adopted yet: {shards}")


def _print_queue(answer: StatusAnswer) -> None:
    queues = [worker.queue for worker in answer.workers]
    octets = octets_text(sum(queue.octets for queue in queues))
    free = octets_text(min((queue.free for queue in queues), default=0))
    click.echo(
        f"Queue: {plural(sum(queue.messages for queue in queues), 'message', 'messages')} "
        f"({octets}), {sum(queue.queued for queue in queues):,} queued, "
        f"{sum(queue.held for queue in queues):,} held, {free} free"
    )
    for worker in answer.workers:
        if not worker.queue.accepting:
            click.echo(f"Worker {worker.worker} takes no new mail: its disk is full or failing")


def _worker_row(worker: WorkerStatus) -> list[str]:
    counts = [
        f"{worker.counts.get(name, 0):,}"
        for name in ("accepted", "refused", "delivered", "deferred", "failed")
    ]
    sessions = f"{worker.gauges.get('sessions', 0):,}"
    return [
        str(worker.worker),
        str(worker.pid),
        worker.state,
        sessions,
        *counts,
        str(worker.restarts),
    ]


def _print_lanes(answer: StatusAnswer) -> None:
    lanes = [(worker.worker, lane) for worker in answer.workers for lane in worker.lanes]
    if not lanes:
        return
    click.echo()
    now = time.time()  # noqa: TID251 - a command for a person, who lives in wall-clock time
    print_table(
        ["Lane", "Worker", "In memory", "Connections", "Paused for", "Last failure"],
        [_lane_row(worker, lane, now) for worker, lane in lanes],
    )


def _lane_row(worker: int, lane: LaneStatus, now: float) -> list[str]:
    paused = seconds_text(lane.paused_until - now) if lane.paused_until > now else ""
    return [
        lane.name,
        str(worker),
        f"{lane.queued:,}",
        f"{lane.active:,}",
        paused,
        lane.last_failure,
    ]


def _print_gauges(answer: StatusAnswer) -> None:
    gauges: Counter[str] = Counter()
    for worker in answer.workers:
        gauges.update(worker.gauges)
    if gauges:
        told = ", ".join(f"{name} {value:,}" for name, value in sorted(gauges.items()))
        click.echo(f"\nNow: {told}")
