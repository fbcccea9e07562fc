"""What the staff's register refuses beside the policies."""

from __future__ import annotations

from typing import ClassVar

from compliance.errors import ComplianceError


class CredentialsError(ComplianceError):
    """Account and password do not open the door; it is never said which of the two, or why."""

    code: ClassVar[str] = "credentials"

    def __init__(self) -> None:
        super().__init__(
            "staff: this account and password are not accepted; check both, and after several "
            "attempts wait: each further one takes longer"
        )


class StaffError(ComplianceError):
    """A rule of the register stands against a change; the message names it and the cure."""

    code: ClassVar[str] = "staff"
