"""What the rules may refuse, and under which stable name.

Messages are lower case, subject first; never an identifier of a person, a key or a value.
"""

from __future__ import annotations

from typing import ClassVar


class ComplianceError(Exception):
    """The rules say no."""

    code: ClassVar[str] = "compliance_error"


class NotPermittedError(ComplianceError):
    """Policy, purpose or grant does not allow the act."""

    code: ClassVar[str] = "not_permitted"


class UnknownPartnerError(ComplianceError):
    """Nobody of this name takes part; outwardly the same answer as `NotPermittedError`."""

    code: ClassVar[str] = "unknown_partner"


class BudgetExhaustedError(ComplianceError):
    """The privacy budget does not cover the event; nothing was charged."""

    code: ClassVar[str] = "budget_exhausted"

    def __init__(self, message: str, *, partner: str) -> None:
        super().__init__(message)
        self.partner = partner


class LogConflictError(ComplianceError):
    """Someone else appended first; read on from `known_size` and try again."""

    code: ClassVar[str] = "log_conflict"

    def __init__(self, message: str, *, known_size: int) -> None:
        super().__init__(message)
        self.known_size = known_size


class LogCorruptError(ComplianceError):
    """The record is not what was written: stop, append nothing, restore and investigate."""

    code: ClassVar[str] = "log_corrupt"


class QuotaExhaustedError(ComplianceError):
    """The quota of the epoch does not cover the request; nothing was charged."""

    code: ClassVar[str] = "quota_exhausted"

    def __init__(self, message: str, *, used: int, quota: int) -> None:
        super().__init__(message)
        self.used = used
        self.quota = quota


class UnknownEpochError(ComplianceError):
    """No such epoch, none in force, or its share is not here; the message says the cure."""

    code: ClassVar[str] = "unknown_epoch"
