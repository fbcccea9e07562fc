"""Whose streams are open, and ending those of a partner that is revoked meanwhile.

A certificate is checked when a stream begins, and its name and serial number are looked up
again several times a second while it lasts: a stream may stay open for weeks. What is open is
looked at whole each time, so that a stream which began in the very moment of a revocation is
found at the next look.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from compliance.configuration import ConfigError
from compliance.state.errors import StateUnavailableError
from protocols.link import TransportError
from server.identity.issued import Bars

LOOK_EVERY_S = 0.2
REVOKED = "this partner was revoked"
_log = logging.getLogger("lianfang.link")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has opened a stream, by the certificate that TLS has verified."""

    name: str
    serial: int


class Callers:
    """All open streams of one service; for any number of threads.

    Args:
        revocations: None lets in whoever has a certificate.
    """

    def __init__(self, revocations: Bars | None) -> None:
        self._revocations = revocations
        self._lock = threading.Lock()
        self._next = 0
        self._open: dict[int, tuple[Caller, Callable[[], None]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="link-revoked", daemon=True)

    def start(self) -> None:
        """Look after open streams from now on."""
        if self._revocations is not None:
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def check(self, caller: Caller) -> None:
        """Refuse a caller whose certificate counts no more.

        Raises:
            TransportError: it does not; not retryable.
        """
        if self._bars(caller):
            raise TransportError(REVOKED, retryable=False)

    def watch(self, caller: Caller, end: Callable[[], None]) -> Callable[[], None]:
        """Call `end` once if the caller is revoked; returns what forgets the stream."""
        with self._lock:
            number = self._next
            self._next += 1
            self._open[number] = caller, end

        def forget() -> None:
            with self._lock:
                self._open.pop(number, None)

        return forget

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            with self._lock:
                streams = list(self._open.items())
            for number, (caller, end) in streams:
                if self._bars(caller):
                    with self._lock:
                        found = self._open.pop(number, None)
                    if found is not None:
                        _log.warning("link: ended a stream of %s, which was revoked", caller.name)
                        end()

    def _bars(self, caller: Caller) -> bool:
        """Report whether a caller is let in no more; nobody is, where that cannot be read."""
        if self._revocations is None:
            return False
        try:
            return self._revocations.bars(caller.name, caller.serial)
        except (ConfigError, OSError, StateUnavailableError):
            _log.exception("link: revocations cannot be read, nobody is let in")
            return True
