"""Pairs that an authority of the test's own has issued."""

from __future__ import annotations

import trustme

from edgerelay.net.key_pairs import KeyPair

RSA, ECDSA = trustme.KeyType.RSA, trustme.KeyType.ECDSA


def pair(authority: trustme.CA, *names: str, key_type: trustme.KeyType = ECDSA) -> KeyPair:
    issued = authority.issue_cert(*names, key_type=key_type)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return KeyPair(chain, issued.private_key_pem.bytes())
