"""What edgerelay uses of dkimpy, which ships without types."""

from re import Pattern
from typing import Any

RE_BTAG: Pattern[bytes]
HASH_ALGORITHMS: dict[bytes, Any]

class DKIMException(Exception): ...

class DKIM:
    headers: list[tuple[bytes, bytes]]
    body: bytes
    pk: Any
    keysize: int
    ktag: bytes
    seqtlsrpt: bool
    hasher: Any
    def __init__(
        self, message: bytes | None = None, *, signature_algorithm: bytes = ...
    ) -> None: ...
    def gen_header(
        self,
        fields: list[tuple[bytes, bytes]],
        include_headers: list[bytes],
        canon_policy: Any,
        header_name: bytes,
        pk: Any,
    ) -> bytes: ...
    def verify_sig_process(
        self,
        sig: dict[bytes, bytes],
        include_headers: list[bytes],
        sig_header: tuple[bytes, bytes],
        dnsfunc: None,
    ) -> bool: ...
    def verify(self, idx: int = 0, dnsfunc: Any = ...) -> bool: ...

def evaluate_pk(name: bytes, s: bytes) -> tuple[Any, int, bytes, bool]: ...
