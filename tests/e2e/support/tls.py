"""Certificates of the tests' own making, and clients that do not mind."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


def issue(
    folder: Path,
    *names: str,
    authority: trustme.CA | None = None,
    key_type: trustme.KeyType = trustme.KeyType.ECDSA,
) -> dict[str, str]:
    """Write cert.pem, with its chain, and key.pem; return the table ``[tls]`` that names them."""
    issued = (authority or trustme.CA()).issue_cert(*names, key_type=key_type)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    return {"certificate": str(certificate), "private_key": str(key)}


def untrusting() -> ssl.SSLContext:
    """Encrypts, and asks for no name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
