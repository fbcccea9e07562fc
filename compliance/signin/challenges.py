"""What an answer must fit: kept here between two requests, given out once, for ten minutes.

A challenge is bound to the browser that it was made for, by the secret in its cookie, and to
what it is for: an answer to another question, or in another browser, finds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

from compliance.signin.errors import CrowdedError
from compliance.signin.values import SignInStore

LASTS_S = 600
# Anybody may begin to sign in: what that leaves behind must not fill the disk.
MOST = 20_000


class Challenges:
    """Challenges of one organisation."""

    def __init__(self, store: SignInStore) -> None:
        self._store = store

    def put(self, purpose: str, secret: bytes, value: Mapping[str, str], *, now: int) -> None:
        """Keep a challenge for a browser, in place of one for the same purpose.

        Raises:
            CrowdedError: there are too many; old ones go after some minutes.
        """
        data = json.dumps(dict(value)).encode()
        if not self._store.add_challenge(
            _key(purpose, secret), data, until=now + LASTS_S, most=MOST
        ):
            self._store.sweep(seen=0, created=0, now=now)
            raise CrowdedError

    def take(self, purpose: str, secret: bytes, *, now: int) -> Mapping[str, str] | None:
        """Return a challenge of a browser; the next who asks gets None."""
        data = self._store.take_challenge(_key(purpose, secret), now=now)
        return None if data is None else json.loads(data)


def _key(purpose: str, secret: bytes) -> bytes:
    return sha256(b"lianfang/signin/challenge/v1\0" + purpose.encode() + b"\0" + secret).digest()
