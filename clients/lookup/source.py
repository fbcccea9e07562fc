"""The oblivious function as the source of run pseudonyms.

What it gives for an identifier is the cached root of the epoch: every partner that asks has
the same one, and nobody can compute it without asking a threshold of key holders, each of
which charges and logs the request. So a partner and the hub together cannot test guesses,
as they could against a hash under a key of the partners.
"""

from __future__ import annotations

from collections.abc import Sequence

from clients.lookup.evaluating import OnProgress
from clients.lookup.session import Lookup
from clients.node.home import Home
from protocols.lookup.request import Purpose
from protocols.oprf.errors import WrongEpochError


class EpochSource:
    """Evaluates under one epoch, and under no other; for `PseudonymSource`.

    Args:
        epoch: the one that the run's plan names.
    """

    def __init__(self, home: Home, epoch: int, on_progress: OnProgress | None = None) -> None:
        self._home = home
        self._epoch = epoch
        self._on_progress = on_progress

    def evaluate(self, identifiers: Sequence[bytes]) -> list[bytes]:
        """Return 32 bytes for each identifier; those of the cache cost nothing.

        Raises:
            WrongEpochError: the epoch in force is another than the plan's.
            HubRefusedError: the quota does not cover them, or there is no grant.
            TransportError: the hub or its holders stay away.
        """
        with Lookup(self._home) as lookup:
            epoch = lookup.epoch()
            if epoch.manifest.epoch != self._epoch:
                # The kept manifest may be of the epoch before, which still has some days.
                epoch = lookup.renew()
            if epoch.manifest.epoch != self._epoch:
                raise WrongEpochError(
                    f"plan: its pseudonyms are of epoch {self._epoch}, in force is "
                    f"{epoch.manifest.epoch}; propose the run again"
                )
            lookup.evaluate(identifiers, purpose=Purpose.ALIGNMENT, on_progress=self._on_progress)
            cache = epoch.cache
            return cache.roots(cache.positions(cache.tokens(identifiers)))
