"""Every key there is, with its type and default: one class a table, one line a key.

A key whose feature does not exist is not here, and so is refused. Types that pydantic does not
know are functions of `units` and `names`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError

from edgerelay import units
from edgerelay.config import names
from edgerelay.policy.options import Fraction
from edgerelay.relay.settings import NextHop
from edgerelay.units import Network

MiB = 1024 * 1024


def _by(parse: Callable[[object], Any]) -> BeforeValidator:
    """Read a value with a function that raises ValueError; pydantic then takes it as it is."""

    def read(value: object) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError("value", "{text}", {"text": str(error)}) from None

    return BeforeValidator(read)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or any(c < " " for c in value):
        raise ValueError("expected a name, not empty")
    return value


def _auto_or_count(most: int) -> Callable[[object], int]:
    """ "auto" is 0 until somebody counts, or knows what it goes by."""

    def read(value: object) -> int:
        if value == "auto":
            return 0
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
            return value
        raise ValueError(f'expected "auto" or a number from 1 to {most}')

    return read


def _network_rate(value: object) -> tuple[int, float] | str | None:
    if value == "auto":
        return "auto"
    try:
        return units.rate(value)
    except ValueError as error:
        raise ValueError(f'{error}, or "auto"') from None


def _recipients(value: object) -> str:
    if value in ("callout", "any"):
        return str(value)
    if isinstance(value, str) and value.startswith("file:") and len(value) > len("file:"):
        return value
    raise ValueError('allowed: "callout", "any", "file:PATH"')


def _resolver(value: object) -> tuple[str, int]:
    return units.address_and_port(value, default_port=53)


T = TypeVar("T")
#: A TOML array. Strict tuples would not take the list it arrives as; its entries stay strict.
Many = Annotated[tuple[T, ...], Strict(False)]
AtLeastOne = Annotated[tuple[T, ...], Strict(False), Field(min_length=1)]

Duration = Annotated[float, _by(units.positive_duration)]
DurationOrZero = Annotated[float, _by(units.duration)]
Size = Annotated[int, _by(units.positive_size)]
SizeOrZero = Annotated[int, _by(units.size)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Domain = Annotated[str, _by(names.domain)]
Networks = Many[Annotated[Network, _by(units.network)]]


class Table(BaseModel):
    """A table of the file. Nothing is converted silently, nothing unknown is let pass."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True
    )


class Dns(Table):
    servers: Many[Annotated[tuple[str, int], _by(_resolver)]] = ()
    timeout: Duration = 5.0


class Listener(Table):
    address: Annotated[tuple[str, int], _by(units.listener_address)] = ("0.0.0.0", 25)  # noqa: S104 - the world is whom an inbound gateway serves
    role: Literal["mx"] = "mx"
    tls: Literal["off", "starttls", "required", "implicit"] | None = None
    greet_delay: DurationOrZero = 0.0
    bare_newline: Literal["reject", "normalize"] = "reject"
    early_pipelining: Literal["accept", "refuse"] = "accept"
    binarymime: bool = False
    proxy_protocol_from: Networks = ()
    xclient_from: Networks = ()
    client_certificate: Literal["off", "request"] = "off"
    split: bool = False


class KeyPair(Table):
    certificate: Annotated[str, _by(_text)]
    private_key: Annotated[str, _by(_text)]


class Tls(KeyPair):
    more: Many[KeyPair] = ()
    client_ca: Annotated[str, _by(_text)] | None = None


class Limits(Table):
    message_size: Size = 50 * MiB
    long_lines: Literal["accept", "reject"] = "accept"
    delivered_before: Literal["accept", "reject"] = "reject"
    recipients_per_message: Count = 1000
    connections: Count = 10_000
    connections_per_client: Count = 50
    rate_per_client: Annotated[tuple[int, float] | None, _by(units.rate)] = (100, 60.0)
    connections_per_network: Annotated[int, _by(_auto_or_count(10_000_000))] = 0
    rate_per_network: Annotated[tuple[int, float] | str | None, _by(_network_rate)] = "auto"
    errors_per_session: Count = 20
    command_timeout: Duration = 300.0
    data_timeout: Duration = 300.0
    min_data_rate: SizeOrZero = 500
    session_timeout: Duration = 1800.0
    decision_timeout: Duration = 100.0
    delay_reject: bool = True
    content_memory: Size = 512 * MiB
    min_free_space: SizeOrZero = 1024 * MiB


class Access(Table):
    relay_from: Networks = ()


class Route(Table):
    domains: AtLeastOne[Annotated[str, _by(names.route_domain)]]
    next_hop: AtLeastOne[Annotated[NextHop, _by(names.next_hop)]]
    delivery: Literal["spool"] = "spool"
    recipients: Annotated[str, _by(_recipients)] | None = None
    tls: Literal["off", "opportunistic", "required", "verify"] = "opportunistic"


class Queue(Table):
    retry: AtLeastOne[Duration] = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
    warn_after: Duration = 4 * 3600.0
    expire: Duration = 5 * 86400.0
    concurrency_per_destination: Count = 20


class Delivery(Table):
    connect: Duration = 30.0
    greeting: Duration = 300.0
    command: Duration = 300.0
    data_start: Duration = 120.0
    data_block: Duration = 180.0
    data_end: Duration = 600.0
    source: Many[Annotated[str, _by(units.local_address)]] = ()


class Tables(Table):
    backend: Literal["sqlite", "memory"] = "sqlite"


class Policy(Table):
    """The keys that every policy has. All others are its own, and it alone knows them."""

    model_config = ConfigDict(extra="allow")

    use: Annotated[str, _by(_text)]
    mode: Literal["enforce", "observe", "off"] = "enforce"
    timeout: Duration = 20.0
    on_error: Literal["defer", "continue"] = "defer"
    enforce_share: Fraction = 1.0


class File(Table):
    """The whole file."""

    hostname: Domain | None = None
    authserv_id: Annotated[str, _by(names.authserv_id)] = ""
    remove_results_of: Many[Annotated[str, _by(names.authserv_id)]] = ()
    postmaster: Annotated[str, _by(names.mailbox)] | None = None
    state_dir: Annotated[str, _by(_text)] = "/var/lib/edgerelay"
    workers: Annotated[int, _by(_auto_or_count(1024))] = 0
    user: Annotated[str, _by(_text)] | None = None
    drain: DurationOrZero = 30.0
    dns: Dns = Dns()
    listener: Many[Listener] = (Listener(),)
    tls: Tls | None = None
    limits: Limits = Limits()
    access: Access = Access()
    route: Many[Route] = ()
    queue: Queue = Queue()
    delivery: Delivery = Delivery()
    tables: Tables = Tables()
    policy: Many[Policy] = ()
