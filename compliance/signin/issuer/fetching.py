"""Talking to the issuer: HTTPS, no redirects, small answers, short waits."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from compliance.configuration import ConfigError
from compliance.signin.errors import IssuerError
from protocols.codec import parse_json
from protocols.errors import MalformedMessageError

MAX_ANSWER = 256 << 10
TIMEOUT_S = 5.0
_OK = 200
_JSON = ("application/json", "application/jwk-set+json")


class Fetching:
    """Fetches JSON from an issuer; any number of threads. Close it after use.

    Args:
        authority: certificates that the issuer's must follow from; the system's if None.

    Raises:
        ConfigError: the authority's file cannot be read.
    """

    def __init__(self, authority: Path | None = None) -> None:
        try:
            context = ssl.create_default_context(cafile=authority)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                "signin.json: issuer: authority cannot be read; give certificates as PEM"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client = httpx.Client(
            verify=context,
            follow_redirects=False,
            timeout=TIMEOUT_S,
            # No surprise from the environment: neither a proxy nor passwords of a .netrc.
            trust_env=False,
            # A packed answer could unpack to any size.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, address: str) -> Any:
        """Return the JSON at an address.

        Raises:
            IssuerError: it cannot be had; says which step failed, and nothing that was sent.
        """
        return self._ask(self._client.build_request("GET", address))

    def post(
        self, address: str, fields: Mapping[str, str], *, basic: tuple[str, str] | None = None
    ) -> Any:
        """Return the JSON that a form is answered with.

        Args:
            basic: the client's id and secret for HTTP Basic, each form-encoded already.

        Raises:
            IssuerError: as `get`.
        """
        request = self._client.build_request("POST", address, data=dict(fields))
        if basic is not None:
            request = next(httpx.BasicAuth(*basic).auth_flow(request))
        return self._ask(request)

    def _ask(self, request: httpx.Request) -> Any:
        try:
            response = self._client.send(request, stream=True, auth=None)
            try:
                return _read(response)
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise IssuerError("issuer: cannot be reached; check its address and its CA") from error


def _read(response: httpx.Response) -> Any:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code != _OK or kind not in _JSON:
        raise IssuerError(f"issuer: answered {response.status_code} where JSON was expected")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise IssuerError("issuer: packed an answer that was asked for plainly")
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise IssuerError(f"issuer: answered with more than {MAX_ANSWER} bytes")
    try:
        return parse_json(bytes(body), "issuer")
    except MalformedMessageError as error:
        raise IssuerError("issuer: answered with what is no JSON") from error
