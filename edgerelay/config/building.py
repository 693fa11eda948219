"""From the checked model to `Config`: defaults that depend on the machine or on other keys."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgerelay.config.machine import machine_hostname, usable_cores
from edgerelay.config.model import File, Limits, Listener, Route
from edgerelay.config.values import Config
from edgerelay.edge.settings import EdgeSettings, ListenerSettings, ListenerTls
from edgerelay.net.key_pairs import TlsFiles
from edgerelay.pipeline.settings import PolicySettings
from edgerelay.relay.settings import HopKind, HopTls, RelaySettings, RouteSettings
from edgerelay.units import PASSED

DEFAULT_USER: Final = "edgerelay"
#: A network may do so many times what a client may, if nothing else is said.
_NETWORK: Final = 10
#: Hops that cannot say whether a recipient exists: there is nobody to ask.
_CANNOT_TELL: Final = (HopKind.MAILDIR, HopKind.MX)


def build(
    file: File,
    base: Path,
    tls_files: TlsFiles | None,
    policies: tuple[PolicySettings, ...] = (),
) -> Config:
    """Return the values. Relative paths begin at ``base``."""
    hostname = file.hostname or machine_hostname()
    workers = file.workers or usable_cores()
    listeners = tuple(_listener(listener, file.tls is not None) for listener in file.listener)
    return Config(
        hostname=hostname,
        postmaster=_postmaster(file),
        state_dir=(base / file.state_dir).resolve(),
        workers=workers,
        user=file.user or DEFAULT_USER,
        user_is_explicit=file.user is not None,
        drain=file.drain,
        dns_servers=file.dns.servers,
        dns_timeout=file.dns.timeout,
        min_free_space=file.limits.min_free_space,
        listeners=listeners,
        listener_addresses=tuple(listener.address for listener in file.listener),
        tls_files=tls_files,
        edge_settings=_edge(file, hostname, listeners),
        relay_settings=_relay(file, hostname, workers, base),
        tables_backend=file.tables.backend,
        policies=policies,
    )


def _postmaster(file: File) -> str:
    """By default that of the first domain named: there a <postmaster> has a mailbox, which the
    relay's own name need not have (RFC 5321 section 4.5.1). Without one, "": the hostname's."""
    named = (domain for route in file.route for domain in route.domains if domain[0] not in ".*")
    first = next(named, "")
    return file.postmaster or (f"postmaster@{first}" if first else "")


def _listener(listener: Listener, has_certificate: bool) -> ListenerSettings:
    """Without a certificate STARTTLS cannot be offered, so the default is not to."""
    host, port = listener.address
    default = ListenerTls.STARTTLS if has_certificate else ListenerTls.OFF
    return ListenerSettings(
        name=_address_text(host, port),
        tls=default if listener.tls is None else ListenerTls(listener.tls),
        proxy_protocol_from=listener.proxy_protocol_from,
        xclient_from=listener.xclient_from,
        greet_delay=listener.greet_delay,
        bare_newline=listener.bare_newline,
        binarymime=listener.binarymime,
        early_pipelining=listener.early_pipelining,
        asks_for_certificate=listener.client_certificate == "request",
        split=listener.split,
    )


def _address_text(host: str, port: int) -> str:
    """As written, for those who have no socket that would say better."""
    if host.startswith(PASSED):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _edge(file: File, hostname: str, listeners: tuple[ListenerSettings, ...]) -> EdgeSettings:
    limits = file.limits
    return EdgeSettings(
        hostname=hostname,
        postmaster=_postmaster(file),
        authserv_id=file.authserv_id or hostname,
        remove_results_of=file.remove_results_of,
        relay_from=file.access.relay_from,
        message_size=limits.message_size,
        recipients_per_message=limits.recipients_per_message,
        connections=limits.connections,
        connections_per_client=limits.connections_per_client,
        rate_per_client=limits.rate_per_client,
        connections_per_network=limits.connections_per_network
        or _NETWORK * limits.connections_per_client,
        rate_per_network=_rate_per_network(limits),
        errors_per_session=limits.errors_per_session,
        command_timeout=limits.command_timeout,
        data_timeout=limits.data_timeout,
        min_data_rate=limits.min_data_rate,
        session_timeout=limits.session_timeout,
        decision_timeout=limits.decision_timeout,
        delay_reject=limits.delay_reject,
        content_memory=limits.content_memory,
        long_lines=limits.long_lines,
        delivered_before=limits.delivered_before,
        listeners=listeners,
    )


def _rate_per_network(limits: Limits) -> tuple[int, float] | None:
    rate = limits.rate_per_network
    if not isinstance(rate, str):
        return rate
    of_client = limits.rate_per_client
    return of_client and (_NETWORK * of_client[0], of_client[1])


def _relay(file: File, hostname: str, workers: int, base: Path) -> RelaySettings:
    queue, delivery = file.queue, file.delivery
    return RelaySettings(
        hostname=hostname,
        postmaster=_postmaster(file),
        routes=tuple(_route(route, base) for route in file.route),
        retry=queue.retry,
        warn_after=queue.warn_after,
        expire=queue.expire,
        concurrency_per_destination=max(1, queue.concurrency_per_destination // workers),
        connect=delivery.connect,
        greeting=delivery.greeting,
        command=delivery.command,
        data_start=delivery.data_start,
        data_block=delivery.data_block,
        data_end=delivery.data_end,
        source=delivery.source,
    )


def _route(route: Route, base: Path) -> RouteSettings:
    recipients: str | Path
    if route.recipients is None:
        nobody_to_ask = any(hop.kind in _CANNOT_TELL for hop in route.next_hop)
        recipients = "any" if nobody_to_ask else "callout"
    elif route.recipients.startswith("file:"):
        recipients = (base / route.recipients.removeprefix("file:")).resolve()
    else:
        recipients = route.recipients
    return RouteSettings(
        domains=route.domains,
        next_hops=route.next_hop,
        recipients=recipients,
        tls=HopTls(route.tls),
    )
