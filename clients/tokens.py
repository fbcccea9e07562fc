"""Access tokens of a hub: fetched with the node's certificate, renewed before they run out.

A token serves beside the certificate alone that it was asked with, so a program that is given one
needs the node's certificate and key too. What it adds is less: a program that sends it can do
only what its scopes cover, whatever the certificate may do.

Specification: RFC 6749, section 4.4; RFC 8705, section 3.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from clients.lookup.https import TIMEOUT_S, Https
from clients.transport import Credentials
from compliance.clock import Clock, SystemClock
from protocols.codec import parse_json
from protocols.errors import MalformedMessageError

PATH = "/v1/token"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_MAX_TOKEN = 16 << 10
# A token with less than this part of its time left is not handed out any more.
_PART_LEFT = 3


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token, and when another one must be fetched.

    Args:
        ends_at: when it runs out, Unix seconds by our own clock.
    """

    text: str = field(repr=False)
    scope: str
    fetched_at: int
    ends_at: int

    @property
    def renew_at(self) -> int:
        """Return from when on it should be replaced."""
        return self.ends_at - (self.ends_at - self.fetched_at) // _PART_LEFT


def fetch_token(
    address: str, credentials: Credentials, name: str, scopes: Sequence[str], *, now: int
) -> AccessToken:
    """Ask a hub for a token.

    Args:
        name: of the node, as its certificate says.

    Raises:
        HubRefusedError: the hub gives none for these scopes.
        TransportError: it cannot be reached. MalformedMessageError: its answer is no token.
    """
    form = {"grant_type": "client_credentials", "client_id": name, "scope": " ".join(scopes)}
    https = Https(address, credentials, TIMEOUT_S)
    try:
        answer = parse_json(https.send(PATH, urlencode(form).encode(), _FORM), "token")
    finally:
        https.close()
    match answer:
        case {
            "access_token": str(text),
            "token_type": str(kind),
            "expires_in": int(lasts_s),
            "scope": str(scope),
        } if kind.lower() == "bearer" and lasts_s > 0 and _is_plain(text):
            return AccessToken(text, scope, now, now + lasts_s)
        case _:
            raise MalformedMessageError("token: the answer holds none")


class TokenSource:
    """Hands out a token that is good for a while; for any number of threads.

    Raises:
        HubRefusedError, TransportError, MalformedMessageError: at `token`; see `fetch_token`.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        name: str,
        scopes: Sequence[str],
        *,
        clock: Clock | None = None,
    ) -> None:
        self._asked = address, credentials, name, tuple(scopes)
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._held: AccessToken | None = None

    def token(self) -> AccessToken:
        """Return the token that is held, or another one once its time draws near."""
        with self._lock:
            now = self._clock.now()
            # A clock that was set back makes it older than it seems.
            if self._held is None or not self._held.fetched_at <= now < self._held.renew_at:
                self._held = fetch_token(*self._asked, now=now)
            return self._held


def _is_plain(text: str) -> bool:
    """Report whether a token can stand in a header as it is."""
    return 0 < len(text) <= _MAX_TOKEN and text.isascii() and text.isprintable() and " " not in text
