"""pydantic's errors in an administrator's words: what was expected, and the nearest key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from edgerelay.config.errors import KeyPath, Problem
from edgerelay.config.model import File
from edgerelay.pipeline.wording import nearest, problem_text


def problems_of(error: ValidationError) -> Iterator[Problem]:
    """Translate every error, in pydantic's order, which is the order of the keys here."""
    details = error.errors(include_url=False)
    paths = [detail["loc"] for detail in details]
    for detail in details:
        path: KeyPath = detail["loc"]
        # A list whose entries are all bad is not an empty list.
        if detail["type"] == "too_short" and any(p[:-1] == path for p in paths):
            continue
        yield Problem(path, _text(path, detail["type"], detail["msg"], detail.get("ctx", {})))


def _text(path: KeyPath, kind: str, message: str, context: Mapping[str, Any]) -> str:
    match kind:
        case "extra_forbidden":
            return f"unknown key{nearest_key(path)}"
        case "model_type" | "tuple_type" if known_keys(_names(path)):
            return f"expected a table: {_header(path)}"
        case _:
            return problem_text(kind, message, context)


def _names(path: KeyPath) -> tuple[str, ...]:
    return tuple(part for part in path if isinstance(part, str))


def _header(path: KeyPath) -> str:
    """How the table at ``path`` is begun in a file."""
    name = ".".join(_names(path))
    field = File.model_fields.get(name)
    return f"[[{name}]]" if field and get_origin(field.annotation) is tuple else f"[{name}]"


def nearest_key(path: KeyPath) -> str:
    """The known key that was most likely meant: in this table first, then anywhere."""
    *table, last = path
    here = known_keys(_names(tuple(table)))
    name = str(last)
    if close := get_close_matches(name, here, n=1):
        return f'; did you mean "{close[0]}"?'
    everywhere = {key.rpartition(".")[2]: key for key in all_keys()}
    if close := get_close_matches(name, everywhere, n=1, cutoff=0.8):
        return f'; did you mean "{everywhere[close[0]]}"?'
    return nearest(name, here)


def known_keys(table: tuple[str, ...]) -> list[str]:
    """The keys of the table of this name; () is the top of the file."""
    model: type[BaseModel] = File
    for name in table:
        field = model.model_fields.get(name)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def all_keys() -> list[str]:
    """Every key by its full name, ``limits.message_size``; tables are not keys."""
    keys = []
    for name, field in File.model_fields.items():
        model = _model_in(field.annotation)
        keys += [f"{name}.{key}" for key in model.model_fields] if model else [name]
    return keys


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The table in ``Table``, ``Table | None`` or ``tuple[Table, ...]``, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is None:
        return None
    return next(filter(None, map(_model_in, get_args(annotation))), None)
