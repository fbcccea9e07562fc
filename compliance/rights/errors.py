"""What the file of requests may refuse, and under which stable name."""

from __future__ import annotations

from typing import ClassVar

from compliance.errors import ComplianceError


class UnknownCaseError(ComplianceError):
    """No request, hold or dispute of this number is kept here."""

    code: ClassVar[str] = "unknown_case"


class CaseErasedError(ComplianceError):
    """What was known of the person was erased; the dates and the answer are left."""

    code: ClassVar[str] = "case_erased"


class LegalHoldError(ComplianceError):
    """A hold stands against an erasure; says until when and why."""

    code: ClassVar[str] = "legal_hold"


class StoreWaitsError(ComplianceError):
    """A store can go on only after something else was done; says what."""

    code: ClassVar[str] = "store_waits"
