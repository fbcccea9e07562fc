"""What an issuer says of itself at its well-known address, and how long that is believed.

Source:
    OpenID Connect Discovery 1.0, sections 3, 4.1 and 4.3; RFC 9207, section 3.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from compliance.signin.errors import IssuerError
from compliance.signin.issuer.fetching import Fetching

KEPT_S = 3_600
_WELL_KNOWN = "/.well-known/openid-configuration"
_MOST = 2_000


@dataclass(frozen=True, slots=True)
class Metadata:
    """Where an issuer does what.

    Args:
        names_itself: whether its answers carry `iss` (RFC 9207), so that one must.
        takes_basic: whether a client may show its secret by HTTP Basic, the default.
    """

    issuer: str
    authorization: str
    token: str
    keys: str
    names_itself: bool
    takes_basic: bool

    @classmethod
    def parse(cls, value: Any, expected: str) -> Metadata:
        """Read a discovery document.

        Raises:
            IssuerError: it is none, or of another issuer.
        """
        if not isinstance(value, dict):
            raise IssuerError("issuer: its discovery document is no object")
        # Discovery 1.0, 4.3: "MUST be identical to the Issuer URL that was [...] used".
        if value.get("issuer") != expected:
            raise IssuerError("issuer: calls itself otherwise than `url` in signin.json does")
        methods = value.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return cls(
            issuer=expected,
            authorization=_address(value, "authorization_endpoint"),
            token=_address(value, "token_endpoint"),
            keys=_address(value, "jwks_uri"),
            names_itself=value.get("authorization_response_iss_parameter_supported") is True,
            takes_basic=not isinstance(methods, list) or "client_secret_basic" in methods,
        )


class Discovery:
    """The metadata of one issuer, fetched when they are needed and again after an hour."""

    def __init__(self, issuer: str, fetching: Fetching) -> None:
        self._issuer, self._fetching = issuer, fetching
        self._lock = threading.Lock()
        self._known: Metadata | None = None
        self._at = 0

    def find(self, *, now: int) -> Metadata:
        """Return the metadata.

        Raises:
            IssuerError: they cannot be had; what was known before an hour is not enough.
        """
        with self._lock:
            if self._known is None or not 0 <= now - self._at < KEPT_S:
                value = self._fetching.get(self._issuer.rstrip("/") + _WELL_KNOWN)
                self._known, self._at = Metadata.parse(value, self._issuer), now
            return self._known


def _address(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or len(found) > _MOST:
        raise IssuerError(f"issuer: its discovery document has no {name}")
    try:
        parts = urlsplit(found)
        is_good = parts.scheme == "https" and bool(parts.hostname) and not parts.fragment
    except ValueError:
        is_good = False
    if not is_good or not found.isascii() or not found.isprintable():
        raise IssuerError(f"issuer: its {name} is no https:// address")
    return found
