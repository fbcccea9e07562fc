"""What stands against signing in beside a wrong password (`compliance.staff.errors`).

Each knows the status of the page that tells it; none of them leaves the screens.
"""

from __future__ import annotations

from typing import ClassVar

from compliance.web.errors import PageError


class SignInError(PageError):
    """Somebody could not prove who it is; to the reader always the same, in the log its reason.

    Args:
        reason: the stable end of the code in the log, such as `passkey`.
    """

    status: ClassVar[int] = 403
    code: ClassVar[str] = "signin"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"sign-in: {message}")
        self.reason = reason


class SourceShutError(PageError):
    """From this network address came too many failures; says when again."""

    status: ClassVar[int] = 429
    code: ClassVar[str] = "source_shut"

    def __init__(self, wait_s: int) -> None:
        super().__init__("sign-in: too many failures from this address")
        self.retry_after_s = wait_s


class CrowdedError(PageError):
    """More sign in at this moment than passwords can be checked, or challenges kept."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "crowded"
    retry_after_s = 5

    def __init__(self) -> None:
        super().__init__("sign-in: too many at once; try again in a moment")


class IssuerError(PageError):
    """The issuer cannot be reached, or says what no issuer may say; never repeats its words."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "issuer"
