"""The TLS contexts of the client side, made once.

It knows no policy: which context a hop gets, and what a failure means, is the caller's.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from edgerelay.relay.settings import HopTls


@dataclass(frozen=True, slots=True)
class ClientContexts:
    """``any_certificate`` hides the mail from listeners only; ``verified`` also names the hop."""

    any_certificate: ssl.SSLContext
    verified: ssl.SSLContext

    def for_rule(self, rule: HopTls) -> ssl.SSLContext:
        return self.verified if rule is HopTls.VERIFY else self.any_certificate


def client_contexts() -> ClientContexts:
    """Build both from the system's certificate authorities. Reads files: not on a hot path."""
    any_certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    any_certificate.check_hostname = False
    any_certificate.verify_mode = ssl.CERT_NONE
    verified = ssl.create_default_context()
    for context in (any_certificate, verified):
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    return ClientContexts(any_certificate, verified)
