"""What goes wrong with a database."""

from __future__ import annotations

from typing import ClassVar

from compliance.errors import ComplianceError


class StorageError(ComplianceError):
    """The storage failed; it is open whether the write in hand is there: give no answer."""

    code: ClassVar[str] = "storage_failed"


class StateUnavailableError(StorageError):
    """The database cannot be reached or failed; nothing more is known of what was in hand."""
