"""Close connections whose client does not complete the head of a request in time.

Uvicorn by itself waits forever for the first request of a connection, and for the rest of an incomplete request head.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""Time limit in seconds for the head of a request to arrive."""


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 protocol that closes a connection if a request head takes longer than `HEAD_S` seconds."""

    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Keep the time limit for an incomplete request head, or stop it while a request is being answered."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limit."""
        self._stop()
        super().connection_lost(exc)

    @property
    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        if not self._is_waiting:
            self._stop()
        elif self._overdue is None:
            self._overdue = self.loop.call_later(HEAD_S, self._give_up)

    def _stop(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _give_up(self) -> None:
        self._overdue = None
        if self._is_waiting:
            self.transport.close()
