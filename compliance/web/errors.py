"""Why a request is not served, with the status of the answer; each has a page of words."""

from __future__ import annotations

from typing import ClassVar

from compliance.errors import ComplianceError, LogCorruptError, NotPermittedError
from compliance.log.errors import StorageError
from protocols.errors import MalformedMessageError


class PageError(Exception):
    """A request that is answered with an error page."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"
    retry_after_s: int = 0


class UnreadableError(PageError):
    """The request cannot be read, or not as this site writes its forms."""


class ForgedFormError(PageError):
    """A form that this site did not give to this browser."""

    status = 403
    code = "forged_form"


class ForbiddenError(PageError):
    """Not for the roles of whoever asks."""

    status = 403
    code = "not_permitted"


class UnknownPageError(PageError):
    """There is nothing here."""

    status = 404
    code = "not_found"


class TooLargeError(PageError):
    """More was sent than any form of this site needs."""

    status = 413
    code = "body_too_large"


class TooOftenError(PageError):
    """Asked too often; says when again."""

    status = 429
    code = "too_many_requests"

    def __init__(self, wait_s: int) -> None:
        super().__init__("asked too often")
        self.retry_after_s = wait_s


class BusyError(PageError):
    """The same request may succeed in a moment."""

    status = 503
    code = "busy"
    retry_after_s = 5


STATUSES = (400, 403, 404, 405, 408, 413, 429, 431, 500, 503)

_OTHERS: dict[type[Exception], tuple[int, str]] = {
    NotPermittedError: (403, "not_permitted"),
    StorageError: (503, "storage"),
    LogCorruptError: (503, "log_corrupt"),
    MalformedMessageError: (400, "malformed_message"),
    ComplianceError: (403, "compliance_error"),
}
KNOWN: tuple[type[Exception], ...] = (PageError, *_OTHERS)


def status_of(error: Exception) -> tuple[int, str]:
    """Return the status and the code of the answer to an error; 500 where none is known."""
    if isinstance(error, PageError):
        return error.status, error.code
    for kind in type(error).__mro__:
        if kind in _OTHERS:
            return _OTHERS[kind]
    return 500, "internal_error"
