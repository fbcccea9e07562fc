"""Giving access tokens and taking them: short-lived, narrow, bound to one certificate.

    asked for   with the certificate alone: whose certificate it is, is the client
    given       a signed statement: this client, these scopes, this certificate, ten minutes
    shown       beside the same certificate, and nowhere else; what is stolen without the
                certificate's key opens nothing

Nothing is kept: a token is what its signature says. It ends with its certificate, whatever its
time, since that is looked up for every request.

Specification: RFC 6749, section 4.4 (client credentials); RFC 8705, sections 2.1 and 3
(tls_client_auth, certificate-bound access tokens); RFC 9068 (profile of the token), section 2;
RFC 8414, section 2 (metadata).
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError

from compliance.clock import Clock
from server.tokens.errors import InvalidTokenError, ScopeError
from server.tokens.scopes import SCOPES
from server.tokens.signing import ALGORITHM, TokenKey

LIFETIME_S = 600
# Processes of one hub may run on several machines.
SKEW_S = 60
MAX_TOKEN = 4096
TYPE = "at+jwt"
TOKEN_PATH, KEYS_PATH = "/v1/token", "/v1/jwks"
_CLAIMS: dict[str, type] = {
    "iss": str,
    "sub": str,
    "aud": str,
    "exp": int,
    "iat": int,
    "jti": str,
    "client_id": str,
    "scope": str,
    "cnf": dict,
}
_CONFIRMATION = "x5t#S256"


@dataclass(frozen=True, slots=True)
class Given:
    """A token that was made; it is a secret of its client."""

    token: str = field(repr=False)
    scope: str
    number: str


@dataclass(frozen=True, slots=True)
class Granted:
    """What a token says, once it has been verified."""

    client: str
    scopes: frozenset[str]


class Tokens:
    """Makes and verifies the tokens of one hub; for any number of threads.

    Args:
        issuer: the API's address, `https://host:port`; it is the audience too.
        is_superseded: whether a certificate (name, serial number) has a successor in use.
    """

    def __init__(
        self,
        key: TokenKey,
        *,
        issuer: str,
        clock: Clock,
        is_superseded: Callable[[str, int], bool] = lambda _name, _serial: False,
    ) -> None:
        self.issuer = issuer
        self.is_superseded = is_superseded
        self._key = key
        self._clock = clock

    def give(self, client: str, thumbprint: bytes, scope: str) -> Given:
        """Make a token for a client and the certificate that it has shown.

        Args:
            thumbprint: SHA-256 of the certificate (DER).
            scope: names of scopes with single spaces between them (RFC 6749, section 3.3).

        Raises:
            ScopeError: empty, unknown, or named twice.
        """
        wanted = scope.split(" ")
        if len(set(wanted)) != len(wanted) or not set(wanted) <= set(SCOPES):
            raise ScopeError(f"scope: name one or more of {', '.join(SCOPES)}")
        now, number, key = self._clock.now(), secrets.token_hex(16), self._key.signing()
        claims = {
            "iss": self.issuer,
            "sub": client,
            "aud": self.issuer,
            "exp": now + LIFETIME_S,
            "iat": now,
            "jti": number,
            "client_id": client,
            "scope": scope,
            "cnf": {_CONFIRMATION: _encode(thumbprint)},
        }
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.thumbprint()}
        return Given(jwt.encode(header, claims, key, algorithms=[ALGORITHM]), scope, number)

    def take(self, text: str, client: str, thumbprint: bytes) -> Granted:
        """Verify a token that is shown beside a certificate.

        Args:
            client, thumbprint: of the certificate.

        Raises:
            InvalidTokenError: it does not hold; all of it is checked before anything is believed.
        """
        claims = self._signed(text)
        now = self._clock.now()
        if claims["iss"] != self.issuer or claims["aud"] != self.issuer:
            raise InvalidTokenError("token: made by another hub, or for another")
        if not claims["iat"] - SKEW_S <= now < claims["exp"]:
            raise InvalidTokenError("token: not valid at this time; ask for another")
        if not hmac.compare_digest(_confirmed(claims["cnf"]), thumbprint):
            raise InvalidTokenError("token: bound to another certificate than the one shown")
        if claims["sub"] != client or claims["client_id"] != client:
            raise InvalidTokenError("token: of another client than the certificate names")
        return Granted(client, frozenset(claims["scope"].split(" ")))

    def keys(self) -> dict[str, object]:
        """Return the public keys by which tokens are verified (RFC 7517)."""
        return self._key.document()

    def metadata(self) -> dict[str, object]:
        """Describe this authorization server (RFC 8414, section 2)."""
        return {
            "issuer": self.issuer,
            "token_endpoint": self.issuer + TOKEN_PATH,
            "jwks_uri": self.issuer + KEYS_PATH,
            "scopes_supported": list(SCOPES),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["tls_client_auth"],
            "tls_client_certificate_bound_access_tokens": True,
        }

    def _signed(self, text: str) -> dict[str, Any]:
        """Return the claims of a token that one of our keys has signed."""
        if len(text) > MAX_TOKEN:
            raise InvalidTokenError("token: longer than any of ours")
        try:
            found = jwt.decode(text, self._find, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidTokenError("token: not signed by this hub") from error
        # RFC 9068, section 4: "MUST reject" any other type; and no header but ours.
        if found.header.get("typ") != TYPE or set(found.header) != {"alg", "typ", "kid"}:
            raise InvalidTokenError("token: not an access token")
        kinds = {name: type(value) for name, value in found.claims.items()}
        if kinds != _CLAIMS:
            raise InvalidTokenError("token: not one of ours")
        return found.claims

    def _find(self, held: Any) -> Any:
        kid = held.headers().get("kid")
        key = self._key.public(kid) if isinstance(kid, str) else None
        if key is None:
            raise InvalidTokenError("token: not signed by this hub")
        return key


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _confirmed(confirmation: dict[str, Any]) -> bytes:
    """Return the thumbprint in a claim that our own key has signed."""
    text = confirmation.get(_CONFIRMATION)
    if set(confirmation) != {_CONFIRMATION} or not isinstance(text, str):
        raise InvalidTokenError("token: bound to no certificate")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise InvalidTokenError("token: bound to no certificate") from error
