"""The Received field that we put before every message (RFC 5321 section 4.4)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final

from edgerelay.mail.address import ForwardPath

#: What a claimed name may not bring into a structured field: comments, quotes, spaces.
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


def protocol_name(*, extended: bool, tls: bool, smtputf8: bool) -> str:
    """The "with" word: RFC 3848, and RFC 6531 section 4.3 for UTF8SMTP.

    There is none for HELO inside TLS; it is called SMTP.
    """
    if not extended:
        return "SMTP"
    return f"{'UTF8SMTP' if smtputf8 else 'ESMTP'}{'S' if tls else ''}"


def received_field(
    *,
    helo: str,
    client: str,
    hostname: str,
    protocol: str,
    queue_id: str,
    now: float,
    tls: str = "",
    recipient: ForwardPath | None = None,
    smtputf8: bool = False,
) -> bytes:
    """Return the whole field, CRLF included.

    ``client`` is an IP address, or "" if it is not known; ``now`` is in seconds since the
    epoch. ``recipient`` is for a message with one only: others would learn of each other.
    """
    using = f"\r\n\t(using {tls})" if tls else ""
    one = ""
    if recipient is not None and (smtputf8 or recipient.mailbox.is_ascii):
        one = f"\r\n\tfor {recipient}"
    return (
        f"Received: from {_name(helo)}{_tcp_info(client)}{using}\r\n"
        f"\tby {hostname} (edgerelay) with {protocol} id {queue_id}{one};\r\n"
        f"\t{_date(int(now))}\r\n"
    ).encode()


@lru_cache(maxsize=1024)
def _name(helo: str) -> str:
    return _NOT_IN_A_NAME.sub("?", helo)


def _tcp_info(client: str) -> str:
    if not client:
        return ""
    return f" ([IPv6:{client}])" if ":" in client else f" ([{client}])"


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))
