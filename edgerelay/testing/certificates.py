"""Certificates for tests, made anew in each run by an authority nobody else trusts.

Needs `trustme`, which the extra ``test`` installs.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import cache

import trustme


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """A server's context, and a client's that trusts it under ``hostname``."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    hostname: str


@cache
def tls_contexts(hostname: str = "mx.example.org") -> TlsContexts:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(hostname, key_type=trustme.KeyType.ECDSA).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return TlsContexts(server, client, hostname)
