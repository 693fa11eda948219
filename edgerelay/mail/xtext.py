"""xtext (RFC 3461 section 4): printable ASCII in which ``+3D`` stands for an equals sign."""

from __future__ import annotations

import re
from typing import Final

#: xtext = *( xchar / hexchar ); hexchar = "+" 2("0"-"9" / "A"-"F"), upper case only.
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR: Final = re.compile(rb"\+([0-9A-F]{2})")
_CONTROL: Final = re.compile(r"\+(?:[01][0-9A-F]|7F)")
_NOT_XCHAR: Final = re.compile(rb"[^!-*,-<>-~]")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")


def is_xtext(text: str) -> bool:
    return _XTEXT.fullmatch(text) is not None


def is_printable_xtext(text: str) -> bool:
    """Whether it is xtext, and stands for no control character: RFC 3461 has none anywhere."""
    return is_xtext(text) and _CONTROL.search(text) is None


def encode_xtext(text: str) -> str:
    """Return ``text`` as xtext, by way of UTF-8."""
    return _NOT_XCHAR.sub(lambda m: b"+%02X" % m[0][0], text.encode()).decode("ascii")


def decode_xtext(xtext: str, errors: str = "backslashreplace") -> str:
    """Return what ``xtext`` stands for, read as UTF-8; what is not becomes ``\\xNN``.

    ``errors`` is what `bytes.decode` calls so. Raises ValueError if it is no xtext. The result
    may hold any character, controls too.
    """
    if not is_xtext(xtext):
        raise ValueError("not xtext")
    octets = _HEXCHAR.sub(lambda m: bytes([int(m[1], 16)]), xtext.encode("ascii"))
    return octets.decode("utf-8", errors)


def utf8_addr_xtext(unitext: str) -> str:
    """Return a utf-8-addr-unitext in the ASCII form of RFC 6533 section 3: ``\\x{E9}``.

    For an ORCPT that came with SMTPUTF8 and leaves to a server without it.
    """
    return _NOT_ASCII.sub(lambda m: f"\\x{{{ord(m[0]):X}}}", unitext)
