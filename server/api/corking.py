"""Head and body of an answer in one record of TLS, and in one call of the system.

The HTTP library writes them one after the other. Each write is a record, a system call, and a
moment in which another thread takes the interpreter's lock from the event loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

# Heads of answers are some hundred bytes; what is larger goes out as it comes.
MAX_HELD = 4 << 10


class Corked:
    """A transport that keeps a small write until the next one, or until the loop comes round.

    Everything else is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Send bytes after all that were written before."""
        if self._held:
            data, self._held = self._held + data, b""
            self._transport.write(data)
        elif 0 < len(data) <= MAX_HELD:
            self._held = data
            self._loop.call_soon(self._flush)
        elif data:
            self._transport.write(data)

    def close(self) -> None:
        """Send what is kept, and close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; nothing more is sent."""
        self._held = b""
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        """Return what the transport has of this name."""
        return getattr(self._transport, name)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)
