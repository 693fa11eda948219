"""Types for the options of a policy, as the configuration file writes them.

An options class is a frozen dataclass whose fields have these types, or ``bool``, ``int``,
``str``, ``Literal[...]``, ``tuple[...]`` of them, and a default each unless it must be given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from edgerelay import units

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


def _fraction(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ValueError("expected a number from 0 to 1")


#: ``"90s"``, ``"5d"``: seconds.
Duration: TypeAlias = Annotated[float, Written(units.positive_duration)]
#: ``"50MiB"``: octets.
Size: TypeAlias = Annotated[int, Written(units.positive_size)]
#: ``"192.0.2.0/24"``, or one address.
Network: TypeAlias = Annotated[units.Network, Written(units.network)]
#: 0 to 1.
Fraction: TypeAlias = Annotated[float, Written(_fraction)]
