"""Certificates and their private keys, read and looked at: as `serve` and `check` need them."""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgerelay.config.errors import KeyPath, Problem
from edgerelay.net.key_pairs import KeyPair, TlsFiles
from edgerelay.net.tls import server_context
from edgerelay.net.x509 import CertificateFacts, leaf_facts

#: A chain and a key are a few KiB; a device or a mailbox named by mistake is not read whole.
_MAX: Final = 1024 * 1024

#: What changes when a file does: mtime in nanoseconds, size, inode. None: it cannot be seen.
Sign = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """Where the pairs are, each a certificate and its key, and the authority of clients."""

    pairs: tuple[tuple[Path, Path], ...]
    client_ca: Path | None = None

    def signs(self) -> tuple[Sign, ...]:
        """What tells whether a file is still the same one. Blocks."""
        paths = [path for pair in self.pairs for path in pair]
        return tuple(map(_sign, [*paths, self.client_ca] if self.client_ca else paths))


def tls_paths_of(raw: dict[str, Any], base: Path) -> TlsPaths | None:
    """Say which files ``[tls]`` of a raw configuration names, if it names a pair."""
    table = raw.get("tls")
    named = table if isinstance(table, dict) else {}
    more = named.get("more")
    pairs = [_pair(each, base) for each in [named, *(more if isinstance(more, list) else [])]]
    client_ca = named.get("client_ca")
    if pairs[0] is None or None in pairs:
        return None  # somebody else's finding
    authority = base / client_ca if client_ca and isinstance(client_ca, str) else None
    return TlsPaths(tuple(filter(None, pairs)), authority)


def _pair(table: object, base: Path) -> tuple[Path, Path] | None:
    named = table if isinstance(table, dict) else {}
    certificate, key = named.get("certificate"), named.get("private_key")
    if not (certificate and key and isinstance(certificate, str) and isinstance(key, str)):
        return None
    return base / certificate, base / key


def read_tls_files(paths: TlsPaths, problems: list[Problem]) -> TlsFiles | None:
    """Return all files' octets; what is wrong with them is added to ``problems``. Blocks."""
    before = len(problems)
    pairs, facts = [], []
    for index, (certificate, private_key) in enumerate(paths.pairs):
        where: KeyPath = ("tls", "more", index - 1) if index else ("tls",)
        pair = _read_pair(certificate, private_key, where, problems)
        if pair is not None:
            pairs.append(pair)
            if len(paths.pairs) > 1:
                facts.append(_facts(pair, certificate, where, problems))
    client_ca = _read_authority(paths.client_ca, problems)
    if len(problems) == before:
        problems += _never_shown(paths, [fact for fact in facts if fact is not None])
    if len(problems) > before:
        return None
    return TlsFiles(tuple(pairs), client_ca)


def _read_pair(
    certificate: Path, private_key: Path, where: KeyPath, problems: list[Problem]
) -> KeyPair | None:
    chain = _read(certificate, (*where, "certificate"), problems)
    key = _read(private_key, (*where, "private_key"), problems)
    if key is not None and private_key.stat().st_mode & stat.S_IRWXO:
        mode = stat.S_IMODE(private_key.stat().st_mode)
        text = f"{private_key} is open to others (mode {mode:04o}): chmod 600"
        problems.append(Problem((*where, "private_key"), text))
    if chain is None or key is None:
        return None
    pair = KeyPair(chain, key)
    try:
        server_context(TlsFiles((pair,)))
    except (ssl.SSLError, ValueError, OSError) as error:
        problems.append(_mismatch(error, certificate, private_key, where))
        return None
    return pair


def _facts(
    pair: KeyPair, certificate: Path, where: KeyPath, problems: list[Problem]
) -> CertificateFacts | None:
    try:
        return leaf_facts(pair.certificate)
    except ValueError as error:
        text = f"cannot tell for which names {certificate} is: {error}"
        problems.append(Problem((*where, "certificate"), text))
        return None


def _never_shown(paths: TlsPaths, facts: list[CertificateFacts]) -> list[Problem]:
    """Pairs for whose every name an earlier one of the same key type comes first."""
    problems = []
    first: dict[tuple[str, str], int] = {}
    for index, fact in enumerate(facts):
        if index and not fact.names and set(facts[0].names):
            text = f"{paths.pairs[index][0]} is for no DNS name, so no client can ask for it"
            problems.append(Problem(("tls", "more", index - 1), text))
        others = [first.setdefault((name, fact.key_type), index) for name in fact.names or ("",)]
        if index and index not in others:
            ours, theirs = paths.pairs[index][0], paths.pairs[others[0]][0]
            text = f"{ours} has the names and the key type ({fact.key_type}) of {theirs}"
            problems.append(Problem(("tls", "more", index - 1), text))
    return problems


def _read_authority(path: Path | None, problems: list[Problem]) -> bytes:
    if path is None:
        return b""
    octets = _read(path, ("tls", "client_ca"), problems)
    try:
        if octets is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=octets.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError):
        text = f"{path} is no certificate in PEM form"
        problems.append(Problem(("tls", "client_ca"), text))
    return octets or b""


def _read(path: Path, where: KeyPath, problems: list[Problem]) -> bytes | None:
    try:
        if not path.is_file():
            problems.append(Problem(where, f"{path}: no such file"))
            return None
        with path.open("rb") as file:
            return file.read(_MAX)
    except OSError as error:
        problems.append(Problem(where, f"cannot read {path}: {error.strerror}"))
        return None


def _sign(path: Path) -> Sign:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _mismatch(error: Exception, certificate: Path, private_key: Path, where: KeyPath) -> Problem:
    reason = getattr(error, "reason", None) or ""
    if "MISMATCH" in reason:
        text = f"{private_key} is not the key of {certificate}"
        return Problem((*where, "private_key"), text)
    if "NO_START_LINE" in reason or "PEM" in reason or not reason:
        text = f"{certificate} and {private_key} are not a certificate and a key in PEM form"
        return Problem(where, text)
    text = f"cannot use {certificate} with {private_key}: {reason.lower().replace('_', ' ')}"
    return Problem(where, text)
