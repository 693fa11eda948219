"""Types for the options of a policy, as the configuration file writes them.

An options class is a frozen dataclass whose fields have these types, or ``bool``, ``int``,
``str``, ``Literal[...]``, ``tuple[...]`` of them, and a default each unless it must be given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from edgerelay import units
from edgerelay.mail.address import Mailbox, domain_key

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


class Written:
    """Says how a value is written: a function that raises ValueError with what it expected.

    pydantic reads the configuration, and is loaded only for that: hence the late imports.
    """

    def __init__(self, parse: Callable[[object], Any]) -> None:
        self.parse = parse

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import PydanticCustomError, core_schema

        def read(value: object) -> Any:
            try:
                return self.parse(value)
            except ValueError as error:
                raise PydanticCustomError("value", "{text}", {"text": str(error)}) from None

        return core_schema.no_info_plain_validator_function(read)


class Whole(Written):
    """A whole number from ``least`` to ``most``: ``Annotated[int, Whole(1, 10)]``."""

    def __init__(self, least: int, most: int) -> None:
        def parse(value: object) -> int:
            if not isinstance(value, int) or value is True or not least <= value <= most:
                raise ValueError(f"expected a whole number from {least} to {most}")
            return value

        super().__init__(parse)


def _fraction(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ValueError("expected a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class AddressPattern:
    """``user@domain``, ``@domain`` or ``domain`` (anybody there), ``.domain`` (below it).

    Domains compare as A-labels, and local parts without regard to case.
    """

    local_part: str  #: lower case; "" for anybody
    domain: str  #: as `edgerelay.policy.Mailbox.domain_key` gives it
    is_below: bool  #: means the domains below ``domain``

    @classmethod
    def from_text(cls, value: object) -> AddressPattern:
        text = value if isinstance(value, str) else ""
        local_part, _, domain = text.rpartition("@")
        is_below = domain.startswith(".") and not local_part
        domain = domain[1:] if is_below else domain
        key = domain_key(domain)
        if not _DOMAIN.fullmatch(key) or any(c <= " " or c == "\x7f" for c in text):
            raise ValueError(
                'expected "user@example.com", "@example.com", "example.com" or ".example.com"'
            )
        return cls(local_part.lower(), key, is_below)

    def matches(self, mailbox: Mailbox) -> bool:
        if self.is_below:
            return mailbox.domain_key.endswith(f".{self.domain}")
        if mailbox.domain_key != self.domain:
            return False
        return not self.local_part or mailbox.local_part.lower() == self.local_part


_DOMAIN: Final = re.compile(r"(?!-)[a-z0-9_.\-]{1,253}|\[[0-9a-z:.]{1,60}\]")

#: One mailbox, or all of a domain.
Addresses: TypeAlias = tuple[Annotated[AddressPattern, Written(AddressPattern.from_text)], ...]
#: ``"90s"``, ``"5d"``: seconds.
Duration: TypeAlias = Annotated[float, Written(units.positive_duration)]
#: ``"50MiB"``: octets.
Size: TypeAlias = Annotated[int, Written(units.positive_size)]
#: ``"192.0.2.0/24"``, or one address.
Network: TypeAlias = Annotated[units.Network, Written(units.network)]
#: 0 to 1.
Fraction: TypeAlias = Annotated[float, Written(_fraction)]
