"""What stands against signing in beside a wrong password (`compliance.staff.errors`)."""

from __future__ import annotations

from typing import ClassVar

from compliance.errors import ComplianceError


class SignInError(ComplianceError):
    """Somebody could not prove who it is; to the reader always the same, in the log its code.

    Args:
        reason: the stable end of the code, such as `passkey`.
    """

    code: ClassVar[str] = "signin"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"sign-in: {message}")
        self.reason = reason


class SourceShutError(ComplianceError):
    """From this network address came too many failures."""

    code: ClassVar[str] = "source_shut"

    def __init__(self, wait_s: int) -> None:
        super().__init__("sign-in: too many failures from this address")
        self.wait_s = wait_s


class CrowdedError(ComplianceError):
    """More sign in at this moment than passwords can be checked, or challenges kept."""

    code: ClassVar[str] = "crowded"

    def __init__(self) -> None:
        super().__init__("sign-in: too many at once; try again in a moment")


class IssuerError(ComplianceError):
    """The issuer cannot be reached, or says what no issuer may say; never repeats its words."""

    code: ClassVar[str] = "issuer"
