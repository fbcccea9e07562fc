"""The authorization code flow from our side: leading there, and taking what comes back.

    begin    state, nonce and PKCE verifier are drawn and kept for this browser; the address
    finish   state found (once), issuer named rightly, code exchanged, ID token checked

Source:
    OpenID Connect Core 1.0, sections 3.1.2.1 and 3.1.3; RFC 7636 (PKCE, S256); RFC 9207
    (issuer identification, against mix-up); RFC 9700 (OAuth security), sections 2.1 and 4.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from compliance.signin.challenges import Challenges
from compliance.signin.errors import IssuerError, SignInError
from compliance.signin.issuer.fetching import Fetching
from compliance.signin.issuer.keys import IssuerKeys
from compliance.signin.issuer.metadata import Discovery, Metadata
from compliance.signin.issuer.token import MAX_TOKEN, Claims, Expected, check_token
from compliance.signin.settings import IssuerSettings

CALLBACK = "/signin/issuer/callback"
MAX_CODE = 4_096
_SIZE = 32


@dataclass(frozen=True, slots=True)
class Returned:
    """Somebody that came back from the issuer.

    Args:
        path: where it was going. again: whether it was to prove anew who it is.
    """

    claims: Claims
    path: str
    again: bool


class Issuer:
    """One issuer, as a client of which this site is registered; close it after use.

    Args:
        origin: of this site; the issuer must have `origin + CALLBACK` as redirect address.

    Raises:
        ConfigError: the issuer's CA cannot be read.
    """

    def __init__(
        self,
        settings: IssuerSettings,
        *,
        origin: str,
        challenges: Challenges,
        random: Callable[[int], bytes],
    ) -> None:
        self.settings = settings
        self._fetching = Fetching(settings.authority)
        self._discovery = Discovery(settings.url, self._fetching)
        self._keys = IssuerKeys(self._fetching)
        self._redirect = origin + CALLBACK
        self._challenges, self._random = challenges, random

    def close(self) -> None:
        """Close the connections to the issuer."""
        self._fetching.close()

    def begin(self, secret: bytes, *, path: str, again: bool, now: int) -> str:
        """Return the address at the issuer to which a browser is led.

        Args:
            secret: of the browser, in which the answer must arrive.
            again: ask for a new proof, whoever is signed in there.

        Raises:
            IssuerError: it cannot be reached. CrowdedError: too many at once.
        """
        metadata = self._discovery.find(now=now)
        state, nonce, verifier = (self._word() for _ in range(3))
        kept = {
            "nonce": nonce, "verifier": verifier, "path": path, "again": "1" if again else "",
            "since": str(now),
        }  # fmt: skip
        self._challenges.put(_purpose(state), secret, kept, now=now)
        fields = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self._redirect,
            "scope": " ".join(self.settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": _text(sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        if again:
            fields |= {"prompt": "login", "max_age": "0"}
        joint = "&" if urlsplit(metadata.authorization).query else "?"
        return f"{metadata.authorization}{joint}{urlencode(fields)}"

    def finish(self, secret: bytes, query: Mapping[str, str], *, now: int) -> Returned:
        """Return who came back.

        Args:
            query: of the address that the issuer led the browser to.

        Raises:
            SignInError: it does not fit what was begun in this browser, or holds no proof.
            IssuerError: the issuer cannot be reached, or says what no issuer may say.
        """
        kept = self._challenges.take(_purpose(query.get("state", "")), secret, now=now)
        if kept is None:
            raise SignInError("issuer", "nothing was begun in this browser, or too long ago")
        metadata = self._discovery.find(now=now)
        self._check_sender(query, metadata)
        code = query.get("code", "")
        # The text of an error is the issuer's and stays unsaid.
        if "error" in query or not 0 < len(code) <= MAX_CODE:
            raise SignInError("issuer", "the issuer sent no code")
        token = self._exchange(code, kept["verifier"], metadata)
        again = bool(kept["again"])
        expected = Expected(
            self.settings.client_id, kept["nonce"], int(kept["since"]) if again else None
        )
        claims = check_token(token, expected, metadata, self._keys, now=now)
        return Returned(claims, kept["path"], again)

    def _check_sender(self, query: Mapping[str, str], metadata: Metadata) -> None:
        """Refuse an answer of another issuer than was asked (mix-up).

        RFC 9207, section 2.4: "clients MUST compare [...] If the value does not match the
        expected issuer identifier, clients MUST reject the authorization response".
        """
        named = query.get("iss")
        if named is None and metadata.names_itself:
            raise SignInError("issuer", "the answer does not say which issuer it is from")
        if named is not None and named != metadata.issuer:
            raise SignInError("issuer", "the answer is from another issuer")

    def _exchange(self, code: str, verifier: str, metadata: Metadata) -> str:
        """Return the ID token for a code."""
        client, secret = self.settings.client_id, self.settings.secret
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": verifier,
        }
        basic = None
        if secret and metadata.takes_basic:
            # RFC 6749, section 2.3.1: both are form-encoded first.
            basic = (quote(client, safe=""), quote(secret, safe=""))
        else:
            fields["client_id"] = client
            if secret:
                fields["client_secret"] = secret
        try:
            answer: Any = self._fetching.post(metadata.token, fields, basic=basic)
        except IssuerError as error:
            raise SignInError("issuer", "the code was not taken") from error
        token = answer.get("id_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or len(token) > MAX_TOKEN:
            raise SignInError("issuer", "there is no ID token")
        return token

    def _word(self) -> str:
        return _text(self._random(_SIZE))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _purpose(state: str) -> str:
    return f"issuer {state[:100]}"
