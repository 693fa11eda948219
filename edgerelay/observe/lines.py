"""One event as one line: JSON for programs, `event key=value ...` for people.

Whatever an event holds, the line holds no control character, so nothing from outside can
begin a line of its own or speak to a terminal.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from edgerelay.observe.escape import escape
from edgerelay.observe.events import (
    Delivery,
    Dropped,
    Event,
    Expired,
    Held,
    LaneDown,
    PolicyFailed,
    Shed,
    Stress,
    Trouble,
    WorkerEnded,
)

_WARNINGS: Final = frozenset({Trouble, LaneDown, Held, Dropped, PolicyFailed, Expired, Shed})
_encoder: Final = msgspec.json.Encoder()
# JSON escapes C0 itself; these pass it by: DEL, C1, and what `escape` calls harmful.
_PASSED_BY_JSON: Final = re.compile(
    rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xa9]|\xef\xbb\xbf"
)
_MILLISECONDS: Final = tuple(f".{number:03d}Z" for number in range(1000))  # formatting is slow
_COLOURS: Final = {"info": "32", "warning": "33", "error": "31"}


def level_of(event: Event) -> str:
    """ "info", "warning" or "error": an error is the death of a process of ours."""
    if type(event) is Delivery:
        return "warning" if event.outcome == "failed" else "info"
    if type(event) is Stress:
        return "warning" if event.is_on else "info"
    if type(event) is WorkerEnded:
        return "info" if event.expected else "error"
    return "warning" if type(event) in _WARNINGS else "info"


def json_line(at: float, event: Event, worker: int | None) -> bytes:
    """``{"time":"2026-01-31T12:00:00.000Z","level":"info","event":...}`` and LF."""
    try:
        body = _encoder.encode(event)
    except (UnicodeEncodeError, msgspec.MsgspecError):  # a lone surrogate: escape it all
        body = _encoder.encode(_escaped(msgspec.to_builtins(event)))
    rest = _after_time(type(event), level_of(event), worker)
    line = f'{{"time":"{_time(at)}"{rest}'.encode() + body[1:] + b"\n"
    if line.isascii() and 0x7F not in line:
        return line  # nearly always; the search costs as much as all the rest
    return _PASSED_BY_JSON.sub(_json_escape, line)


@lru_cache(maxsize=128)
def _after_time(kind: type[Event], level: str, worker: int | None) -> str:
    """The level, and the worker unless the event has one of its own."""
    if worker is None or "worker" in kind.__struct_fields__:
        return f',"level":"{level}",'
    return f',"level":"{level}","worker":{worker},'


def _json_escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())


def pretty_line(at: float, event: Event, worker: int | None) -> bytes:
    """``12:00:00.000 message queue_id=... size=4096``; empty fields are left out."""
    fields = msgspec.structs.asdict(event)
    if worker is not None:
        fields.setdefault("worker", worker)
    told = " ".join(
        f"{name}={_value(value)}" for name, value in fields.items() if value not in ("", None, [])
    )
    name = f"\x1b[{_COLOURS[level_of(event)]}m{_name(type(event)):<14}\x1b[0m"
    return f"\x1b[2m{_time(at)[11:-1]}\x1b[0m {name} {told}\n".encode()


@lru_cache
def _name(kind: type[Event]) -> str:
    return str(kind.__struct_config__.tag)


def _value(value: Any) -> str:
    match value:
        case float():
            return f"{value:.3f}"
        case list() | tuple():
            return "[" + ", ".join(map(_value, value)) + "]"
        case str():
            text = escape(value)
            if " " not in text and '"' not in text:
                return text
            return '"' + text.replace('"', '\\"') + '"'
        case _:
            return escape(str(value))


def _escaped(value: Any) -> Any:
    match value:
        case dict():
            return {name: _escaped(item) for name, item in value.items()}
        case list() | tuple():
            return [_escaped(item) for item in value]
        case str():
            return escape(value)
        case _:
            return value


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _time(at: float) -> str:
    """ISO 8601, UTC, milliseconds; the second is formatted once."""
    second, milliseconds = divmod(int(at * 1000), 1000)
    return _second(second) + _MILLISECONDS[milliseconds]
