from collections.abc import Callable
from typing import Any

str2int: Callable[[bytes], int]
int2str: Callable[..., bytes]

def parse_pem_private_key(data: bytes) -> Any: ...
