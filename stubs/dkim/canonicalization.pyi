from collections.abc import Callable

strip_trailing_whitespace: Callable[[bytes], bytes]
compress_whitespace: Callable[[bytes], bytes]
unfold_header_value: Callable[[bytes], bytes]

class Simple:
    @staticmethod
    def canonicalize_body(body: bytes) -> bytes: ...

class Relaxed:
    @staticmethod
    def canonicalize_body(body: bytes) -> bytes: ...

class CanonicalizationPolicy:
    @classmethod
    def from_c_value(cls, c: bytes | None) -> CanonicalizationPolicy: ...
    def canonicalize_body(self, body: bytes) -> bytes: ...
