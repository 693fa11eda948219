"""A DNS server on loopback in a thread, whose zone is literal."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import trio

from edgerelay.testing.literal_dns import Zone, serve_dns


class DnsServer:
    """Serves ``zone`` over UDP and TCP on a free ``port`` while it is open."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._ready = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,))
        self.port = 0

    async def _serve(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self.port = await serve_dns(self._zone, nursery)
                    self._token = trio.lowlevel.current_trio_token()
                    self._ready.set()
        finally:
            self._ready.set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._token is None:
            raise RuntimeError("the DNS server did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()
