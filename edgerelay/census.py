"""Tasks that belong to nobody: outside every session, delivery and service of the process.

Every nursery that is open for the life of a part is made known here, once. Below one of those a
task has an owner who will end it; any other task is a stray, such as one that a policy has started
as a system task of Trio. It costs nothing until somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import trio
from trio.lowlevel import Task

_known: WeakKeyDictionary[trio.Nursery, str] = WeakKeyDictionary()


def known(nursery: trio.Nursery, kind: str) -> trio.Nursery:
    """Make a nursery known as that of "sessions", "deliveries" or "services", and return it."""
    _known[nursery] = kind
    return nursery


def tasks_by_kind() -> dict[str, int]:
    """How many tasks there are of each kind. The strays are not among them."""
    counts: dict[str, int] = {}
    for kind, _ in _tasks(trio.lowlevel.current_root_task(), None):
        if kind is not None:
            counts[kind] = counts.get(kind, 0) + 1
    return counts


def strays() -> list[str]:
    """Names of the tasks that belong to nobody; the caller's own ancestors are somebody's."""
    mine = set(_ancestors(trio.lowlevel.current_task()))
    return [
        task.name
        for kind, task in _tasks(trio.lowlevel.current_root_task(), None)
        if kind is None
        and task not in mine
        and not task.name.startswith("<")  # Trio's own are called that
    ]


def _tasks(task: Task | None, kind: str | None) -> Iterator[tuple[str | None, Task]]:
    """Every task below one, with the kind of the nearest nursery around it that is known."""
    if task is None:
        return
    for nursery in task.child_nurseries:
        inner = _known.get(nursery, kind)
        for child in nursery.child_tasks:
            yield inner, child
            yield from _tasks(child, inner)


def _ancestors(task: Task | None) -> Iterator[Task]:
    while task is not None:
        yield task
        task = task.parent_nursery.parent_task if task.parent_nursery else None
