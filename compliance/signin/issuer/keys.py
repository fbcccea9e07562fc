"""The issuer's public keys: kept for an hour, fetched again when a token names another one.

Source:
    OpenID Connect Core 1.0, sections 10.1 and 10.1.1 (rotation of signing keys); RFC 7517.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from compliance.signin.errors import IssuerError
from compliance.signin.issuer.fetching import Fetching

KEPT_S = 3_600
# Anybody can show a token that names an unknown key: the issuer is not asked for each.
AT_MOST_EVERY_S = 30
MAX_KEYS = 64
# A key that both sides hold could be one that everybody knows: such as the public key itself.
_KINDS = {"RSA", "EC", "OKP"}
Key = RSAKey | ECKey | OKPKey


class IssuerKeys:
    """The keys of one issuer; any number of threads."""

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching
        self._lock = threading.Lock()
        self._known: list[Key] = []
        self._at: int | None = None

    def matching(self, address: str, fits: Callable[[Key], bool], *, now: int) -> list[Key]:
        """Return the keys that fit, after asking the issuer again if none does.

        Raises:
            IssuerError: the keys cannot be had.
        """
        with self._lock:
            age = None if self._at is None else now - self._at
            is_old = age is None or not 0 <= age < KEPT_S
            # Another key than those known: the issuer may have changed its keys.
            may_ask = age is not None and age >= AT_MOST_EVERY_S
            if is_old or (may_ask and not any(map(fits, self._known))):
                self._fetch(address, now)
            return [key for key in self._known if fits(key)]

    def _fetch(self, address: str, now: int) -> None:
        value = self._fetching.get(address)
        items = value.get("keys") if isinstance(value, dict) else None
        if not isinstance(items, list) or len(items) > MAX_KEYS:
            raise IssuerError("issuer: its key set is none")
        self._known = [key for item in items if (key := _key(item)) is not None]
        self._at = now


def _key(item: Any) -> Key | None:
    """Return a public key that signatures may be checked with; None for every other."""
    if not isinstance(item, dict) or item.get("kty") not in _KINDS:
        return None
    if item.get("use", "sig") != "sig":
        return None
    try:
        found = import_key(item)
    except (JoseError, ValueError, TypeError, KeyError):
        # One that this library does not know must not keep us from the others.
        return None
    return found if isinstance(found, RSAKey | ECKey | OKPKey) else None
