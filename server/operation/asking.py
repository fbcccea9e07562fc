"""The holders elsewhere with an observer around every ask."""

from __future__ import annotations

from compliance.operation.observing import UNOBSERVED, Ask, Observes
from server.lookup.service import Holders


class ObservedHolders:
    """Holders as `server.lookup.service.Holders` has them, observed."""

    def __init__(self, holders: Holders, observer: Observes) -> None:
        self._holders = holders
        self._observer = observer

    def connected(self) -> frozenset[str]:
        """Return the names of those that can be asked."""
        return self._holders.connected()

    def ask(self, holder: str, kind: str, body: bytes, timeout_s: float) -> bytes:
        """Ask one and return its answer; see `Holders.ask`."""
        with self._observer.during(Ask(holder, kind)):
            return self._holders.ask(holder, kind, body, timeout_s)


def observed_holders(holders: Holders, observer: Observes) -> Holders:
    """Return holders with an observer around them; themselves where nothing is observed."""
    return holders if observer is UNOBSERVED else ObservedHolders(holders, observer)
