"""What the HTTP side alone can refuse, each under a stable code.

Messages tell sizes, names of fields and rules; never a value that was sent.
"""

from __future__ import annotations

from typing import ClassVar


class ApiError(Exception):
    """A request cannot be served as it was sent."""

    code: ClassVar[str] = "bad_request"


class CertificateRequiredError(ApiError):
    """The caller showed no client certificate."""

    code: ClassVar[str] = "certificate_required"


class IdempotencyKeyError(ApiError):
    """The Idempotency-Key header is missing or is not the id of the request in the body."""

    code: ClassVar[str] = "idempotency_key"


class MediaTypeError(ApiError):
    """The body is of another media type than the route takes."""

    code: ClassVar[str] = "media_type"


class BodyTooLargeError(ApiError):
    """The body is longer than the route takes."""

    code: ClassVar[str] = "body_too_large"


class BodyTooSlowError(ApiError):
    """The body did not arrive in time."""

    code: ClassVar[str] = "body_too_slow"


class BodyIncompleteError(ApiError):
    """The connection ended before the body did."""

    code: ClassVar[str] = "body_incomplete"


class BusyError(ApiError):
    """More requests are being served than this hub allows; try again."""

    code: ClassVar[str] = "busy"


class NotReadyError(ApiError):
    """The hub runs, but cannot serve lookups at the moment."""

    code: ClassVar[str] = "not_ready"


class NotFoundError(ApiError):
    """There is nothing here, or nothing that this caller may know of."""

    code: ClassVar[str] = "not_found"


class RangeError(ApiError):
    """The range lies outside of the file."""

    code: ClassVar[str] = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"range: outside of a file of {size} bytes")
        self.size = size
