"""Which partners are shut out while a run goes on; for the process that drives the run."""

from __future__ import annotations

from pathlib import Path

from compliance.configuration import ConfigError
from compliance.state.errors import StateUnavailableError
from server.identity.issued import is_revoked
from server.keeping.place import keeping_of
from server.training.coordinator import IsRevoked


def revoked_at(root: Path) -> IsRevoked:
    """Return the question whether a partner of a hub is revoked, which may be asked often."""

    def asked(name: str) -> bool:
        try:
            kept = keeping_of(root).partners.find(name)
        except (ConfigError, StateUnavailableError, OSError):
            # The link lets nobody in then, and by that the run ends.
            return False
        return kept is not None and is_revoked(kept)

    return asked
