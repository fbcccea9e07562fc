"""What only the audit log can refuse, or fail at."""

from __future__ import annotations

from typing import ClassVar

from compliance.errors import ComplianceError
from compliance.state.errors import StorageError

__all__ = [
    "EntryPrunedError",
    "NotWitnessedError",
    "PartErasedError",
    "StorageError",
    "UnknownPartError",
]


class NotWitnessedError(ComplianceError):
    """Too few witnesses cosigned the checkpoint; it is not published, and the log goes on."""

    code: ClassVar[str] = "not_witnessed"


class EntryPrunedError(ComplianceError):
    """The entry is past its retention and is no longer given out; its proofs still hold."""

    code: ClassVar[str] = "entry_pruned"


class PartErasedError(ComplianceError):
    """The private part was erased; the entry and its proofs still hold."""

    code: ClassVar[str] = "part_erased"


class UnknownPartError(ComplianceError):
    """No private part of this entry is kept here."""

    code: ClassVar[str] = "unknown_part"
