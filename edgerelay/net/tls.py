"""The server's side of TLS: one context from a certificate chain and its private key.

Takes the files' octets rather than their names: they were read before privileges were
dropped, and a worker could not read them again.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path


class ServerTls:
    """What a handshake of ours begins with; a reload puts another context in its place.

    Never the same one with another certificate: a chain that fails to load leaves a context
    broken for handshakes that would have worked.
    """

    __slots__ = ("context",)

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context


def server_context(certificate: bytes, private_key: bytes) -> ssl.SSLContext:
    """Build a context for TLS 1.2 and newer (RFC 8996 retired the rest).

    Both are PEM. Raises ssl.SSLError or ValueError if they do not parse or do not belong
    together. OpenSSL reads only files, hence two that exist in memory alone.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    chain_fd, key_fd = os.memfd_create("certificate"), os.memfd_create("private-key")
    try:
        with open(chain_fd, "wb", closefd=False) as file:
            file.write(certificate)
        with open(key_fd, "wb", closefd=False) as file:
            file.write(private_key)
        context.load_cert_chain(Path(f"/proc/self/fd/{chain_fd}"), Path(f"/proc/self/fd/{key_fd}"))
    finally:
        os.close(chain_fd)
        os.close(key_fd)
    return context
