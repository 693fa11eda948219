"""The server's side of TLS: which certificate a handshake shows, and whether it asks for one.

Takes the files' octets rather than their names: they were read before privileges were
dropped, and a worker could not read them again.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from edgerelay.net.key_pairs import KeyPair, TlsFiles, grouped


class ServerTls:
    """What a handshake of ours begins with; a reload puts another context in its place.

    Never the same one with another certificate: a chain that fails to load leaves a context
    broken for handshakes that would have worked.
    """

    __slots__ = ("context",)

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context


def server_context(files: TlsFiles, *, ask_clients: bool = False) -> ssl.SSLContext:
    """Build the context of a listener; with several pairs it chooses by the name asked for.

    ``ask_clients`` asks for a certificate that may be missing, yet not be bad. Raises ssl.SSLError
    or ValueError if a pair does not parse or does not belong together.
    """
    client_ca = files.client_ca if ask_clients else b""
    groups = grouped(files.pairs)
    contexts = {group: _context(group, client_ca) for group in {*groups.values()}}
    default = contexts[groups[""]]
    by_name = {name: contexts[group] for name, group in groups.items() if name}

    def choose(tls: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        # Nothing here may raise: that would end the handshake.
        context = _named(name, by_name)
        if context is not None:
            tls.context = context

    if len(contexts) > 1:
        default.sni_callback = choose
    return default


def _named(name: str | None, by_name: dict[str, ssl.SSLContext]) -> ssl.SSLContext | None:
    """The context for a name of the client's (RFC 6066 section 3), or for any name like it."""
    asked = (name or "").lower().removesuffix(".")
    # A wildcard is one label, the leftmost (RFC 6125 section 6.4.3).
    return by_name.get(asked) or by_name.get("*." + asked.partition(".")[2])


def _context(pairs: tuple[KeyPair, ...], client_ca: bytes) -> ssl.SSLContext:
    """Build one for TLS 1.2 and newer (RFC 8996 retired the rest), with pairs of all key types."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    for pair in pairs:
        _load(context, pair)
    if client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=client_ca.decode("ascii", "replace"))
    return context


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    """OpenSSL reads only files, hence two that exist in memory alone."""
    chain_fd, key_fd = os.memfd_create("certificate"), os.memfd_create("private-key")
    try:
        with open(chain_fd, "wb", closefd=False) as file:
            file.write(pair.certificate)
        with open(key_fd, "wb", closefd=False) as file:
            file.write(pair.private_key)
        context.load_cert_chain(Path(f"/proc/self/fd/{chain_fd}"), Path(f"/proc/self/fd/{key_fd}"))
    finally:
        os.close(chain_fd)
        os.close(key_fd)
