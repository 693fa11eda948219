"""The certificate and its private key, read and looked at: as `serve` and `check` need them."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path
from typing import Any, Final

from edgerelay.config.errors import Problem
from edgerelay.net.tls import server_context

#: A chain and a key are a few KiB; a device or a mailbox named by mistake is not read whole.
_MAX: Final = 1024 * 1024


def tls_files_of(
    raw: dict[str, Any], base: Path, problems: list[Problem]
) -> tuple[bytes, bytes] | None:
    """Read the files that ``[tls]`` of a raw configuration names, if it names two."""
    table = raw.get("tls")
    named = table if isinstance(table, dict) else {}
    certificate, key = named.get("certificate"), named.get("private_key")
    if not (certificate and key and isinstance(certificate, str) and isinstance(key, str)):
        return None
    return read_tls_files(base / certificate, base / key, problems)


def read_tls_files(
    certificate: Path, private_key: Path, problems: list[Problem]
) -> tuple[bytes, bytes] | None:
    """Return both files' octets; what is wrong with them is added to ``problems``."""
    chain = _read(certificate, ("tls", "certificate"), problems)
    key = _read(private_key, ("tls", "private_key"), problems)
    if key is not None and private_key.stat().st_mode & stat.S_IRWXO:
        mode = stat.S_IMODE(private_key.stat().st_mode)
        text = f"{private_key} is open to others (mode {mode:04o}): chmod 600"
        problems.append(Problem(("tls", "private_key"), text))
    if chain is None or key is None:
        return None
    try:
        server_context(chain, key)
    except (ssl.SSLError, ValueError, OSError) as error:
        problems.append(_mismatch(error, certificate, private_key))
        return None
    return chain, key


def _read(path: Path, where: tuple[str, str], problems: list[Problem]) -> bytes | None:
    try:
        if not path.is_file():
            problems.append(Problem(where, f"{path}: no such file"))
            return None
        with path.open("rb") as file:
            return file.read(_MAX)
    except OSError as error:
        problems.append(Problem(where, f"cannot read {path}: {error.strerror}"))
        return None


def _mismatch(error: Exception, certificate: Path, private_key: Path) -> Problem:
    reason = getattr(error, "reason", None) or ""
    if "MISMATCH" in reason:
        text = f"{private_key} is not the key of {certificate}"
        return Problem(("tls", "private_key"), text)
    if "NO_START_LINE" in reason or "PEM" in reason or not reason:
        text = f"{certificate} and {private_key} are not a certificate and a key in PEM form"
        return Problem(("tls",), text)
    text = f"cannot use {certificate} with {private_key}: {reason.lower().replace('_', ' ')}"
    return Problem(("tls",), text)
