"""Why no token is given, or one is not taken.

Specification: RFC 6749, section 5.2; RFC 6750, section 3.1.
"""

from __future__ import annotations

from typing import ClassVar

from server.api.errors import ApiError


class TokenRequestError(ApiError):
    """A token was asked for in a way that the specification does not know.

    Attributes:
        error: the code of RFC 6749, which the answer names beside ours.
    """

    code: ClassVar[str] = "token_request"
    error: ClassVar[str] = "invalid_request"


class GrantTypeError(TokenRequestError):
    """Another grant than client_credentials."""

    code: ClassVar[str] = "unsupported_grant_type"
    error: ClassVar[str] = "unsupported_grant_type"


class ScopeError(TokenRequestError):
    """A scope that does not exist, or none at all."""

    code: ClassVar[str] = "invalid_scope"
    error: ClassVar[str] = "invalid_scope"


class ClientError(TokenRequestError):
    """The client that is named is not the one whose certificate was shown."""

    code: ClassVar[str] = "invalid_client"
    error: ClassVar[str] = "invalid_client"


class InvalidTokenError(ApiError):
    """A token does not hold, has run out, or belongs to another certificate."""

    code: ClassVar[str] = "invalid_token"


class InsufficientScopeError(ApiError):
    """A token holds, and not for this operation.

    Args:
        scope: the one that would do; empty if none does.
    """

    code: ClassVar[str] = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"scope: {scope} is needed; ask for a token with it"
            if scope
            else "scope: no token serves here; use the certificate alone"
        )
        self.scope = scope
