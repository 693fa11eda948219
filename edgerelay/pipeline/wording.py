"""pydantic's errors in an administrator's words: of the file's keys, and of policies' options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import Any, Final

_EXPECTED: Final = {
    "string_type": "expected text in quotes",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "tuple_type": 'expected a list, as ["..."]',
    "missing": "is required",
}


def problem_text(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Say what was expected. The arguments are an error's ``type``, ``msg`` and ``ctx``."""
    match kind:
        case "literal_error":
            return f"allowed: {_quoted(context['expected'])}"
        case "too_short":
            return "expected at least one entry"
        case "greater_than_equal":
            return f"expected a number of at least {context['ge']}"
        case "less_than_equal":
            return f"expected a number of at most {context['le']}"
        case _:
            return _EXPECTED.get(kind, message)


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?``, or the nearest one of ``known``; "" if there is none."""
    known = list(known)
    if close := get_close_matches(name, known, n=1):
        return f'; did you mean "{close[0]}"?'
    if not known:
        return ""
    closest = max(known, key=lambda key: SequenceMatcher(None, name, key).ratio())
    return f'; the nearest known one is "{closest}"'


def _quoted(expected: str) -> str:
    """pydantic's ``'a', 'b' or 'c'`` as ``"a", "b", "c"``."""
    return expected.replace(" or ", ", ").replace("'", '"')
