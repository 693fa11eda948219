"""A short, printable piece of what a peer sent, for a log line or an operator's message."""

from __future__ import annotations

import re
from typing import Final

#: What no command may hold: C0, DEL, C1, and the two separators that some break lines at.
CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_LIMIT: Final = 100  # characters: enough to recognise a command


def printable(text: str) -> str:
    """Return ``text`` with all that is not printable written as an escape (``\\x0a``).

    That is more than the controls: what turns the direction of a line round is also in it.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def excerpt(octets: bytes, limit: int = _LIMIT) -> str:
    """Return at most about ``limit`` characters of ``octets``, escaped, with … if cut."""
    text = printable(octets[:limit].decode("utf-8", "backslashreplace"))
    return text if len(text) <= limit and len(octets) <= limit else f"{text[: limit - 1]}…"
