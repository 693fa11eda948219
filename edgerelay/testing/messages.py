"""Messages for tests: built, and signed with keys that are published here and worth nothing.

A signed message with the zone that verifies it::

    key = TEST_KEYS["ed25519"]
    message = sign(build_message(sender="ann@sender.example"), "sender.example", "s1", key)
    zone = dkim_records("sender.example", "s1", key)
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import dkim
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import parse_pem_private_key
from nacl.encoding import Base64Encoder
from nacl.signing import SigningKey as Ed25519Key

from edgerelay.testing.literal_dns import Zone


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair. ``private`` is a PEM (RSA) or a seed in base64 (Ed25519)."""

    algorithm: str  #: a= of a signature
    kind: str  #: k= of a key record
    public: str  #: p= of a key record
    private: bytes


#: "rsa-2048" signs in 8 ms, "ed25519" in 0.3.
TEST_KEYS: Final[Mapping[str, SigningKey]] = {
    "ed25519": SigningKey(
        "ed25519-sha256",
        "ed25519",
        "blT3Iuv190X86Ro4eshC8xp+y5euIkFNj2QxBNnITA4=",
        b"Q2K8p4WckKmSSSWW2m/QzBeG6KAFDlVUX4tgP6yt1fY=",
    ),
    "rsa-2048": SigningKey(
        "rsa-sha256",
        "rsa",
        "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvSemHzKTe6MR5VwALILHhxNmqXsbVkSeNF6T"
        "Zo7+vNFBT2b1xlCqKQMcSPu94cct0Z1FPmRZIbG4OwmV5bC3jHo9yssfGy9G/iLjtQEJZx8XIq6wbube"
        "pOY15jSbWz6SDAIt1L01BsWCfSW8VaH7VDRZXCRlwHb/Be/P4/hyvel7pjQRWmcyAvudxhRgxswjp5av"
        "1wAKSi8ZguPRJJ+P3Ds9IUoSA7w/luSVyWtaAoeWtJTdLtD5OTFP0EroZD05ZttNd3kd1dezed8l3+OM"
        "UljcSfdZmwjhSXl8qqe3tfYxF320ykJClaQgyKB2FoWmIFZ3IOVG7MkQDX4TKpKiHwIDAQAB",
        b"""-----BEGIN RSA PRIVATE KEY-----
MIIEpAIBAAKCAQEAvSemHzKTe6MR5VwALILHhxNmqXsbVkSeNF6TZo7+vNFBT2b1
xlCqKQMcSPu94cct0Z1FPmRZIbG4OwmV5bC3jHo9yssfGy9G/iLjtQEJZx8XIq6w
bubepOY15jSbWz6SDAIt1L01BsWCfSW8VaH7VDRZXCRlwHb/Be/P4/hyvel7pjQR
WmcyAvudxhRgxswjp5av1wAKSi8ZguPRJJ+P3Ds9IUoSA7w/luSVyWtaAoeWtJTd
LtD5OTFP0EroZD05ZttNd3kd1dezed8l3+OMUljcSfdZmwjhSXl8qqe3tfYxF320
ykJClaQgyKB2FoWmIFZ3IOVG7MkQDX4TKpKiHwIDAQABAoIBAAnZJZ6cM+5oamKK
0P3JbDAEn5Jw0ESNbb/NH6BjxdT42vrtxmSmK+77j8MDS80mzu13q3SLJdKS2TH9
H+qqRE+f7R7TIoR4Pz7+DlL6pmkbEACWslwRh7Eqe88Qq4srVquPYzKfVYuU2mQ/
qJNOgrJffsyynrfiJ+SuhY302WNdg5j9kGJRNg/04/aCrdglfVvWAltdhlZ5C1ZA
2sc6dkZXdJKQFPQBTcd69w2CWrWKiR4riCkXpKGC4lSS9um5eAaexQFeZcbrv1QH
thCVzNL2v65bsEpFzynLpn4JL5ZLbHAiTvPXXkpsGwEgMt2dbvWtGzo8jogCFzFO
LX4WYCECgYEA3guMj+dwASoY9ShKf62f+xBGnJIMpCbHmSzhMqRXLUj6vNccz7nX
Ub+RLv3Kcw06Ut6ofGdzEbjXA1mNHSDRu7iNPjsAHW1J2XJPFlqz7JXUfR1wSmbZ
VkwuZFvaglXLTbkmjV9ZxxaPyDT+9ztHrzXsFyxTuUnBbePq/1Xw/m8CgYEA2hSJ
zKJb4S2i5zYxj23qkbieRS0v5HCOXlDqX2McmKmQ0VaMxXtAvsBojROnvs482V/I
jhcy3CvrnWS2hdV6V+ojNywC/vWCp3JKNELGzZsWY3w7MQLrEJ6HIF6wO9stcAsq
igBhCiBKrQGzTz1PmywBP7uQmycar405b7UAb1ECgYEA0lwOpqaULgY77sZlDeDn
l2sr+llDMKCsqCkkkF2xWW2yXgVNfl6J5yCd4u79RVJa1veql3FKSpfa24mTbu0Q
xc9pwHMVAMvxEtiApKT5oEGyNXYWU+ZsMJ2rtdhvgtrU6KVoKLcUztBJF1td0cuP
diaXrLyJ9Rgy8HDkyVIaJnECgYBd2sr3W8SpI4fhdAxeSxLRxh+va+QZr2tGIhLM
HI6ZERj3TwVklEfoEEyuso/V6VJ8xuE8bbWA1hIf+dEnxhlSLr0bKIDdk3G4eNKA
rWB76kv3Yubij/v0ehVzk+zKxehHOTcEj2c0AXPCA2JVLvDMumKLOEDi1TCB7wiS
D9bxEQKBgQCeG2k8MGm5kQC3owAiUZqXptWOUL3ebW9aIGjCoH13F+GTxwps1cBB
XH3ShLY+ZG49rQiEdsrrxPI9SUQQMswmP+nDJLDariEiNs/80appXyyr4dr6zpfi
fW23yrcoR9iF8K4qCwCn/vd7vZIpzsEdgWmm3JzmHu7aktpNJpA58A==
-----END RSA PRIVATE KEY-----
""",
    ),
}

#: What `sign` names in h=, each as often as it occurs and once more for From.
SIGNED: Final = ("from", "to", "subject", "date", "message-id", "mime-version", "content-type")


def build_message(
    *,
    sender: str = "Ann <ann@sender.example>",
    to: str = "Bob <bob@receiver.example>",
    subject: str = "A message",
    date: str = "Sat, 21 Nov 2026 20:00:00 +0000",
    message_id: str = "<1@sender.example>",
    fields: Sequence[tuple[str, str]] = (),
    body: str | bytes = "Hello Bob,\r\n\r\nthis is a message.\r\n",
) -> bytes:
    """Return a message with CRLF line ends; a text may be written with plain line feeds.

    ``fields`` go below the others. Nothing is checked, so that odd messages can be built.
    """
    header = [
        ("From", sender),
        ("To", to),
        ("Subject", subject),
        ("Date", date),
        ("Message-ID", message_id),
        *fields,
    ]
    text = "".join(f"{name}: {value}\r\n" for name, value in header if value)
    if isinstance(body, str):
        body = body.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    return text.encode() + b"\r\n" + body


def sign(
    message: bytes,
    domain: str,
    selector: str,
    key: SigningKey,
    *,
    canonicalization: str = "relaxed/relaxed",
    names: Sequence[str] | None = None,
    length: int | None = None,
    timestamp: int | None = None,
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """Return the message with a DKIM-Signature field in front (RFC 6376).

    ``names`` are those of h=; ``length`` is l=, octets of the canonical body; ``timestamp``
    is t=. ``tags`` are added or replace ours: ``{"x": "1700000000"}``, ``{"i": "@a.example"}``;
    what is computed is still computed, over the field as it then is.
    """
    signer = dkim.DKIM(message, signature_algorithm=key.algorithm.encode())
    signer.hasher = hashlib.sha256
    policy = CanonicalizationPolicy.from_c_value(canonicalization.encode())
    signed = [name.encode() for name in names or _signed(signer.headers)]
    body = policy.canonicalize_body(signer.body)[:length]
    all_tags = {
        "v": "1",
        "a": key.algorithm,
        "c": canonicalization,
        "d": domain,
        "s": selector,
        **({} if length is None else {"l": str(length)}),
        **({} if timestamp is None else {"t": str(timestamp)}),
        "h": " : ".join(name.decode() for name in signed),
        "bh": base64.b64encode(hashlib.sha256(body).digest()).decode(),
        **(tags or {}),
        "b": "0" * 60,
    }
    private = (
        parse_pem_private_key(key.private)
        if key.kind == "rsa"
        else Ed25519Key(key.private, encoder=Base64Encoder)
    )
    pairs = [(name.encode(), value.encode()) for name, value in all_tags.items()]
    included = [name.lower() for name in signed]
    field = signer.gen_header(pairs, included, policy, b"DKIM-Signature", private)
    return b"DKIM-Signature: " + field + message


def key_record(key: SigningKey, *, more: str = "") -> str:
    """What a domain publishes for a key; ``more`` are further tags, as ``"t=y; "``."""
    return f"v=DKIM1; k={key.kind}; {more}p={key.public}"


def dkim_records(domain: str, selector: str, key: SigningKey, *, more: str = "") -> Zone:
    """The zone in which `key_record` is found, in strings of 255 octets."""
    text = key_record(key, more=more).encode()
    strings = tuple(text[start : start + 255] for start in range(0, len(text), 255))
    return {(f"{selector}._domainkey.{domain}", "TXT"): [strings]}


def _signed(headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    present = [name.decode() for name, _ in headers]
    return [*(name for name in present if name.lower() in SIGNED), "From"]
