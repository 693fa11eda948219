"""Text from outside, made harmless: one line, no terminal commands, no reversed writing."""

from __future__ import annotations

import re
from typing import Final

# C0 and C1 controls, DEL, Unicode's line separators, bidirectional controls, zero-width
# marks, and lone surrogates, which no encoder would take.
_HARMFUL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def escape(text: str, limit: int | None = None) -> str:
    r"""Return ``text`` with every harmful character as ``\n``, ``\x1b`` or ``\u2028``.

    At most ``limit`` characters of the text are kept; a cut is marked with "...".
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + "..."
    if text.isprintable():  # then nothing of it is harmful, and nearly always it is
        return text
    return _HARMFUL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")
