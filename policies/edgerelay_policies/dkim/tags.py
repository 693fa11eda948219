"""Tag lists: ``name=value; name=value``, as a signature and a key are written (RFC 6376)."""

from __future__ import annotations

import re
from typing import Final

FWS: Final = b" \t\r\n"

# tag-name = ALPHA *ALNUMPUNC (RFC 6376 section 3.2)
_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")


class TagError(ValueError):
    """It is no tag list, or holds a name twice, which makes all of it invalid."""


def parse_tags(text: bytes) -> dict[str, bytes]:
    """Return the values by name, in their order and without outer white space.

    Linear; white space inside a value stays. Names are case-sensitive, unknown ones are kept.
    """
    tags: dict[str, bytes] = {}
    specs = text.split(b";")
    if not specs[-1].strip(FWS):
        specs.pop()
    for spec in specs:
        name, equals, value = spec.partition(b"=")
        name = name.strip(FWS)
        if not equals or not _NAME.fullmatch(name):
            raise TagError("not a tag list")
        key = name.decode()
        if key in tags:
            raise TagError(f"{key[:16]}= twice")
        tags[key] = value.strip(FWS)
    return tags


def without_space(value: bytes) -> bytes:
    """Base64 and numbers may be folded anywhere."""
    return value.translate(None, FWS)


def items(value: bytes) -> list[bytes]:
    """A list whose separator is a colon; an empty value is no item."""
    return [item.strip(FWS) for item in value.split(b":")] if value else []
