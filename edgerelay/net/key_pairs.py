"""Certificates with their keys, and which of several are for which name.

Apart from `net.tls`, which does with them what OpenSSL can: a command that only talks to a running
relay knows their form, and loads no OpenSSL.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgerelay.net.x509 import leaf_facts


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its chain, and its private key, both PEM."""

    certificate: bytes
    private_key: bytes


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The first pair is for clients that name nobody, or nobody we know.

    ``client_ca``: whose client certificates are good, PEM; empty where none is asked for.
    """

    pairs: tuple[KeyPair, ...]
    client_ca: bytes = b""


def grouped(pairs: tuple[KeyPair, ...]) -> dict[str, tuple[KeyPair, ...]]:
    """Which pairs are shown for which name: of each key type the first; "": for any other name.

    The client's algorithms then choose among a group. Raises ValueError for an unreadable one.
    """
    if len(pairs) == 1:
        return {"": pairs}  # nothing to choose, so nothing to read
    facts = [leaf_facts(pair.certificate) for pair in pairs]
    found: dict[str, dict[str, KeyPair]] = {"": {}}
    for pair, fact in zip(pairs, facts, strict=True):
        if set(fact.names) == set(facts[0].names):
            found[""].setdefault(fact.key_type, pair)
        for name in fact.names:
            found.setdefault(name, {}).setdefault(fact.key_type, pair)
    return {name: tuple(group.values()) for name, group in found.items()}
