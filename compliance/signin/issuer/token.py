"""Checking an ID token: signed by the issuer, for us, for this browser, at this time.

Source:
    OpenID Connect Core 1.0 (errata 2), section 3.1.3.7; the numbers below are its steps.
    RFC 8725 (JWT best current practices), sections 3.1 (algorithms) and 3.11 (types).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from compliance.signin.errors import IssuerError, SignInError
from compliance.signin.issuer.keys import IssuerKeys, Key
from compliance.signin.issuer.metadata import Metadata

# Asymmetric ones alone, each with the kind and curve of key that it needs.
ALGORITHMS: Mapping[str, tuple[type[Key], str]] = {
    "RS256": (RSAKey, ""),
    "PS256": (RSAKey, ""),
    "ES256": (ECKey, "P-256"),
    "ES384": (ECKey, "P-384"),
    "Ed25519": (OKPKey, "Ed25519"),
    "EdDSA": (OKPKey, "Ed25519"),
}
MIN_RSA_BITS = 2_048
MAX_TOKEN = 32 << 10
LEEWAY_S = 60
LONGEST_S = 600  # between the issuing of a token and its arrival here
MAX_SUBJECT = 255
_PARTS = 3
_LAST = 2**53


@dataclass(frozen=True, slots=True)
class Claims:
    """What an issuer says of somebody, once all of it has been checked."""

    subject: str = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)

    def texts(self, name: str) -> frozenset[str]:
        """Return a claim that lists texts, such as groups; empty where it is none."""
        found = self.values.get(name)
        items = [found] if isinstance(found, str) else found
        return (
            frozenset(i for i in items if isinstance(i, str))
            if isinstance(items, list)
            else frozenset()
        )

    def text(self, name: str) -> str:
        """Return a claim that is text; empty where it is none."""
        found = self.values.get(name)
        return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say.

    Args:
        proved_since: the person must have proved who it is at the issuer since then.
    """

    client: str
    nonce: str = field(repr=False)
    proved_since: int | None = None


def check_token(
    token: str, expected: Expected, metadata: Metadata, keys: IssuerKeys, *, now: int
) -> Claims:
    """Return the claims of an ID token that holds.

    Raises:
        SignInError: it does not; says which step. IssuerError: the keys cannot be had.
    """
    values = _signed(token, metadata, keys, now)
    # (2) "The Issuer Identifier [...] MUST exactly match the value of the iss Claim."
    if values.get("iss") != metadata.issuer:
        raise _wrong("another issuer")
    # (3) "[...] or if it contains additional audiences not trusted by the Client": none is.
    if values.get("aud") not in (expected.client, [expected.client]):
        raise _wrong("for another client")
    # (4), (5) the authorised party, where one is named, is us.
    if values.get("azp", expected.client) != expected.client:
        raise _wrong("for another client")
    _check_times(values, expected, now)
    # (11) "its value checked to verify that it is the same value as the one that was sent".
    nonce = values.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(
        nonce.encode(), expected.nonce.encode()
    ):
        raise _wrong("not for this sign-in")
    subject = values.get("sub")
    # Core, section 2: "It MUST NOT exceed 255 ASCII [...] characters in length."
    if not isinstance(subject, str) or not subject.isascii() or not 0 < len(subject) <= MAX_SUBJECT:
        raise _wrong("of nobody")
    return Claims(subject, values)


def _check_times(values: Mapping[str, Any], expected: Expected, now: int) -> None:
    ends, begins = _time(values, "exp"), _time(values, "iat")
    # (9) "The current time MUST be before the time represented by the exp Claim."
    if now >= ends + LEEWAY_S:
        raise _wrong("run out")
    # (10) "can be used to reject tokens that were issued too far away from the current time".
    if not -LEEWAY_S <= now - begins <= LONGEST_S:
        raise _wrong("issued at another time")
    # (13) the person has signed in there since we asked for it.
    since = expected.proved_since
    if since is not None and _time(values, "auth_time") < since - LEEWAY_S:
        raise _wrong("without a new proof of who it is")


def _signed(token: str, metadata: Metadata, keys: IssuerKeys, now: int) -> dict[str, Any]:
    """Return what a token says if the issuer has signed it: steps (6), (7) and (8)."""
    if len(token) > MAX_TOKEN or token.count(".") != _PARTS - 1 or not token.isascii():
        raise _wrong("no token")
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError) as error:
        raise _wrong("no token") from error
    algorithm, number = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise _wrong("signed by an algorithm that is not taken")
    if str(header.get("typ", "JWT")).upper() != "JWT":
        raise _wrong("a token of another type")
    found = keys.matching(metadata.keys, lambda key: _fits(key, algorithm, number), now=now)
    for key in found:
        try:
            payload = jws.deserialize_compact(token, key, algorithms=[algorithm]).payload
        except (JoseError, ValueError):
            continue
        return _object(payload)
    raise _wrong("not signed by the issuer")


def _fits(key: Key, algorithm: str, number: object) -> bool:
    kind, curve = ALGORITHMS[algorithm]
    fields = key.as_dict(private=False)
    if not isinstance(key, kind) or fields.get("alg", algorithm) != algorithm:
        return False
    if isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS:
        return False
    if curve and fields.get("crv") != curve:
        return False
    # A token without a key's name may be by any of them (Core, 10.1).
    return number is None or fields.get("kid") in {None, number}


def _object(payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _wrong("no token") from error
    if not isinstance(found, dict):
        raise IssuerError("issuer: signed what is no object")
    return found


def _time(values: Mapping[str, Any], name: str) -> float:
    """Return a claim that is a time in Unix seconds; NaN and infinities are none."""
    found: Any = values.get(name)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number or not abs(found) < _LAST:
        raise _wrong(f"without a time in {name}")
    return float(found)


def _wrong(why: str) -> SignInError:
    return SignInError("issuer", f"the ID token is {why}")
