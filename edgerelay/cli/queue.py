"""`edgerelay queue`: what waits, and an operator's hand on it.

Asks the running relay; if there is none, does the same to the shards themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from edgerelay.cli.options import age, config_option, config_path, json_option
from edgerelay.cli.output import (
    NotSo,
    complain,
    octets_text,
    plural,
    print_json,
    print_table,
    seconds_text,
)
from edgerelay.cli.questions import put
from edgerelay.config.reading import state_dir_of
from edgerelay.control.messages import (
    DEFAULT_LIMIT,
    Action,
    QueueAct,
    QueueActed,
    QueueEntry,
    QueueList,
    QueueListing,
    QueueMessage,
    QueueShow,
)
from edgerelay.mail.address import domain_key
from edgerelay.spool.api import Filter, Status

F = TypeVar("F", bound=Callable[..., Any])


def filter_options(function: F) -> F:
    """The filter; every option that is given must match."""
    for option in reversed(
        (
            click.option("--domain", metavar="DOMAIN", help="A recipient's domain."),
            click.option("--from", "sender", metavar="ADDRESS", help="The sender; <> for none."),
            click.option("--to", metavar="ADDRESS", help="A recipient."),
            click.option("--lane", metavar="LANE", help="The lane, as listed."),
            click.option("--older", callback=age, metavar="AGE", help="Arrived so long ago: 2h."),
            click.option("--status", type=click.Choice([status.value for status in Status])),
        )
    ):
        function = option(function)
    return function


def _filter(
    domain: str | None,
    sender: str | None,
    to: str | None,
    lane: str | None,
    older: float | None,
    status: str | None,
) -> Filter:
    return Filter(
        status=None if status is None else Status(status),
        domain=None if domain is None else domain_key(domain),
        reverse_path=None if sender is None else _address(sender),
        forward_path=None if to is None else _address(to),
        lane=lane,
        older_than=None if older is None else _now() - older,
    )


def _address(text: str) -> str:
    """``<user@example.com>`` and ``user@example.com`` are the same; ``<>`` is empty."""
    return text.strip().removeprefix("<").removesuffix(">")


def _now() -> float:
    return time.time()  # noqa: TID251 - a command for a person, who lives in wall-clock time


@click.group()
@config_option
def queue() -> None:
    """List and change what waits for delivery.

    A message with recipients in several lanes has a delivery in each; flush, hold, release
    and delete act on deliveries, by the queue ids of their messages or by a filter.
    """


@queue.command("list")
@config_option
@filter_options
@click.option("--limit", type=click.IntRange(1), default=DEFAULT_LIMIT, show_default=True)
@json_option
def list_(limit: int, as_json: bool, **filters: Any) -> None:
    """List deliveries, the oldest first."""
    request = QueueList(filter=_filter(**filters), limit=limit)
    listing = put(state_dir_of(config_path()), request, QueueListing)
    if as_json:
        print_json(listing.entries)
    elif listing.entries:
        now = _now()
        print_table(
            ["ID", "Size", "Age", "Status", "Tries", "Next", "From", "To", "Lane", "Last reply"],
            [_row(entry, now) for entry in listing.entries],
        )
    else:
        click.echo("Nothing matches." if request.filter != Filter() else "The queue is empty.")
    if listing.cut:
        complain(f"cut at {len(listing.entries):,} deliveries: there are more (--limit)")


def _row(entry: QueueEntry, now: float) -> list[str]:
    more = entry.recipient_count - 1
    first = entry.recipients[0] if entry.recipients else None
    next_, said = _prospects(entry, now)
    return [
        entry.queue_id,
        octets_text(entry.size),
        seconds_text(now - entry.arrived),
        entry.status,
        str(entry.attempts),
        next_,
        entry.reverse_path,
        (first.forward_path if first else "") + (f" +{more:,}" if more > 0 else ""),
        entry.lane,
        said,
    ]


def _prospects(entry: QueueEntry, now: float) -> tuple[str, str]:
    """When it is tried next, and what was said last or what it waits for."""
    if entry.status == Status.HELD.value:
        return "", entry.reason
    said = entry.recipients[0].last_reply if entry.recipients else ""
    if entry.lane_paused_until > max(now, entry.due):
        return seconds_text(entry.lane_paused_until - now), said or "the lane is paused"
    return (seconds_text(entry.due - now) if entry.due > now else "now"), said


@queue.command()
@config_option
@click.argument("queue_id", metavar="ID")
@json_option
def show(queue_id: str, as_json: bool) -> None:
    """Show one message: envelope, every recipient, header."""
    message = put(state_dir_of(config_path()), QueueShow(queue_id=queue_id), QueueMessage)
    if not message.entries:
        raise NotSo(f"no message {queue_id} in the queue")
    if as_json:
        print_json(message)
    else:
        _print_message(message)


def _print_message(message: QueueMessage) -> None:
    first, now = message.entries[0], _now()
    click.echo(f"Message  {first.queue_id}, {octets_text(first.size)}")
    click.echo(f"Arrived  {seconds_text(now - first.arrived)} ago from {_origin(first)}")
    click.echo(f"From     {first.reverse_path}")
    for entry in message.entries:
        click.echo(f"\nLane     {entry.lane}: {_standing(entry, now)}")
        for recipient in entry.recipients:
            said = f": {recipient.last_reply}" if recipient.last_reply else ""
            click.echo(f"To       {recipient.forward_path}{said}")
    click.echo(f"\n{message.header}" + ("\n[cut]" if message.header_cut else ""))


def _origin(entry: QueueEntry) -> str:
    if entry.about:
        return f"this relay: a report about {entry.about}"
    return f"[{entry.client}] ({entry.helo})" if entry.client else "this relay"


def _standing(entry: QueueEntry, now: float) -> str:
    tried = f"tried {plural(entry.attempts, 'time', 'times')}"
    if entry.status == Status.HELD.value:
        return f"held ({entry.reason}), {tried}"
    next_, _ = _prospects(entry, now)
    paused = ", the lane is paused" if entry.lane_paused_until > now else ""
    return f"queued, {tried}, next {next_ if next_ == 'now' else 'in ' + next_}{paused}"


def _action(name: Action, help_: str, *, destructive: bool, has_reason: bool = False) -> None:
    """Add one of the commands that change the queue; they differ in a word."""

    def act(
        ids: tuple[str, ...],
        everything: bool,
        as_json: bool,
        reason: str = "",
        **filters: Any,
    ) -> None:
        what = _filter(**filters)
        if not ids and what == Filter() and destructive and not everything:
            raise click.UsageError("name queue ids, a filter, or --all for every delivery")
        request = QueueAct(
            action=name,
            ids=ids,
            filter=what,
            everything=everything or not destructive,
            reason=reason,
        )
        _report(name, put(state_dir_of(config_path()), request, QueueActed), as_json)

    command = click.option("--all", "everything", is_flag=True, help="Every delivery.")(act)
    if has_reason:
        command = click.option("--reason", default="", metavar="TEXT", help="Shown later.")(
            command
        )
    command = config_option(filter_options(json_option(command)))
    command = click.argument("ids", nargs=-1, metavar="[ID]...")(command)
    queue.command(name, help=help_)(command)


_DONE: dict[Action, str] = {
    "flush": "due now",
    "hold": "held",
    "release": "released",
    "delete": "deleted",
}


def _report(name: Action, acted: QueueActed, as_json: bool) -> None:
    if as_json:
        print_json({"deliveries": acted.deliveries, "missing": acted.missing})
    else:
        click.echo(f"{plural(acted.deliveries, 'delivery', 'deliveries')} {_DONE[name]}")
    if acted.missing:
        raise NotSo(f"no message {', '.join(acted.missing)} in the queue")


_action("flush", "Try queued deliveries now. Without ids or filter: all.", destructive=False)
_action("hold", "Keep deliveries until they are released.", destructive=True, has_reason=True)
_action("release", "Let held deliveries go on, at once.", destructive=True)
_action("delete", "Forget deliveries: no delivery, no report.", destructive=True)
