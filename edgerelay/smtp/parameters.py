"""The parameters of MAIL and RCPT: strict, each at most once, and only what is offered.

RFC 5321 section 4.1.2 (esmtp-param), RFC 1870 (SIZE), RFC 6152 and RFC 3030 (BODY), RFC 6531
(SMTPUTF8), RFC 8689 (REQUIRETLS) and RFC 3461 section 4 (RET, ENVID, NOTIFY, ORCPT). Knows
nothing of addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from edgerelay.mail.envelope import Body, Notify, Ret
from edgerelay.mail.reply import Reply
from edgerelay.mail.xtext import is_printable_xtext
from edgerelay.smtp.grammar import GrammarError

_UNKNOWN: Final = Reply(555, "5.5.4", "Parameter not recognized or not offered")
_TWICE: Final = Reply(501, "5.5.4", "Parameter given twice")
_BAD_SYNTAX: Final = Reply(501, "5.5.4", "Bad parameter syntax")
_BAD_VALUE: Final = Reply(501, "5.5.4", "Bad parameter value")

# esmtp-param = esmtp-keyword ["=" esmtp-value]
# esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
# esmtp-value = 1*(%d33-60 / %d62-126 / UTF8-non-ascii)
_esmtp_param: Final = re.compile("([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u00a0-\U0010ffff]+))?")

# size-value = 1*20DIGIT (RFC 1870 section 3)
_size_value: Final = re.compile("[0-9]{1,20}")

# original-recipient-address = atom ";" xtext (RFC 3461 section 4.2)
_atom: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")

# utf-8-addr-unitext (RFC 6533 section 3): QUCHAR / EmbeddedUnicodeChar, or U+00A0 and above
_unitext: Final = re.compile("[!-*,-<>-~\u00a0-\U0010ffff]+")

_ENVID_LIMIT: Final = 100  # characters (RFC 3461 section 4.4)
_ORCPT_LIMIT: Final = 500  # characters (RFC 3461 section 4.2)

T = TypeVar("T")


def _size(value: str) -> int:
    if _size_value.fullmatch(value) is None:
        raise ValueError
    return int(value)


def _envid(value: str) -> str:
    if len(value) > _ENVID_LIMIT or not is_printable_xtext(value):
        raise ValueError
    return value


def _notify(value: str) -> Notify:
    """``NOTIFY=NEVER``, or a list of the other three, each once (RFC 3461 section 4.1)."""
    words = value.upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    wanted = Notify.NEVER
    for word in words:
        flag = _NOTIFY_WORDS[word]  # KeyError: no such word, or NEVER among others
        if flag in wanted:
            raise ValueError
        wanted |= flag
    return wanted


_NOTIFY_WORDS: Final = {flag.name: flag for flag in (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY)}


def _orcpt(value: str) -> str:
    address_type, semicolon, address = value.partition(";")
    if not (semicolon and address) or len(value.encode()) > _ORCPT_LIMIT:
        raise ValueError
    if _atom.fullmatch(address_type) is None:
        raise ValueError
    is_utf8 = address_type.lower() == "utf-8" and not address.isascii()
    if not (_unitext.fullmatch(address) if is_utf8 else is_printable_xtext(address)):
        raise ValueError
    return value


_MAIL: Final[Mapping[str, Callable[[str], object]]] = {
    "SIZE": _size,
    "BODY": lambda value: Body(value.upper()),
    "SMTPUTF8": bool,  # takes no value: see _WITHOUT_VALUE
    "RET": lambda value: Ret(value.upper()),
    "ENVID": _envid,
    "REQUIRETLS": bool,  # takes no value, either
    "PRDR": bool,  # nor this
}
_RCPT: Final[Mapping[str, Callable[[str], object]]] = {"NOTIFY": _notify, "ORCPT": _orcpt}
_WITHOUT_VALUE: Final = frozenset({"SMTPUTF8", "REQUIRETLS", "PRDR"})


class Parameters:
    """What a command carried after its path, by keyword in upper case."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def get(self, keyword: str, of_type: type[T]) -> T | None:
        value = self._values.get(keyword)
        return value if isinstance(value, of_type) else None

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._values


NO_PARAMETERS: Final = Parameters({})


def mail_parameters(text: str, *, extended: bool) -> Parameters:
    """Read what follows the reverse-path. ``extended``: the client said EHLO."""
    return _parameters(text, _MAIL if extended else {}) if text else NO_PARAMETERS


def rcpt_parameters(text: str, *, extended: bool) -> Parameters:
    """Read what follows the forward-path."""
    return _parameters(text, _RCPT if extended else {}) if text else NO_PARAMETERS


def _parameters(text: str, known: Mapping[str, Callable[[str], object]]) -> Parameters:
    if not text.startswith(" "):
        raise GrammarError(_BAD_SYNTAX)
    values: dict[str, object] = {}
    for word in filter(None, text.split(" ")):
        match = _esmtp_param.fullmatch(word)
        if match is None:
            raise GrammarError(_BAD_SYNTAX)
        keyword = match[1].upper()
        read = known.get(keyword)
        if read is None:
            raise GrammarError(_UNKNOWN)
        if keyword in values:
            raise GrammarError(_TWICE)
        values[keyword] = _value(keyword, match[2], read)
    return Parameters(values)


def _value(keyword: str, value: str | None, read: Callable[[str], object]) -> object:
    if (value is None) != (keyword in _WITHOUT_VALUE):
        raise GrammarError(_BAD_SYNTAX)
    try:
        return True if value is None else read(value)
    except (ValueError, KeyError):
        raise GrammarError(_BAD_VALUE) from None
