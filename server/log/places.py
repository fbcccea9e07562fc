"""Where a witness is asked: over the standing link of its partner, or by HTTP elsewhere.

A place carries bytes and judges nothing. Whatever keeps an answer from coming is a
`TransportError`; the signatures in an answer are checked by who asked.
"""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from compliance.configuration import ConfigError
from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.tlog.asking import ADD_CHECKPOINT, MAX_ANSWER_SIZE, WitnessAnswer
from protocols.tlog.note import MAX_NOTE_SIZE
from server.standing.registry import HolderRefusedError

if TYPE_CHECKING:
    import httpx

_PATH = "/add-checkpoint"
_REQUEST_TYPE = "text/plain; charset=utf-8"


class Place(Protocol):
    """Where one witness can be asked; for one thread at a time."""

    def ask(self, request: bytes, timeout_s: float) -> WitnessAnswer:
        """Send an add-checkpoint request and return the answer, whatever its status.

        Raises:
            TransportError: no answer came.
            MalformedMessageError: what came is none.
        """
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


class Asks(Protocol):
    """The standing links, as far as a witness needs them (`server.standing.Standing`)."""

    def ask(self, holder: str, kind: str, body: bytes, timeout_s: float) -> bytes:
        """Ask one node and return its answer."""
        ...


class StandingPlace:
    """A partner's witness behind the link that the partner itself has opened."""

    def __init__(self, links: Asks, partner: str) -> None:
        self._links = links
        self._partner = partner

    def ask(self, request: bytes, timeout_s: float) -> WitnessAnswer:
        """As `Place.ask`."""
        try:
            body = self._links.ask(self._partner, ADD_CHECKPOINT, request, timeout_s)
        except HolderRefusedError as error:
            # Its node runs no witness, or is about to stop: the code is stable, its text is not.
            raise TransportError(
                f"{self._partner}: its node has no witness ({error.code})", retryable=True
            ) from error
        if len(body) > MAX_ANSWER_SIZE:
            raise MalformedMessageError(f"{self._partner}: an answer of {len(body)} bytes")
        return WitnessAnswer.decode(body)

    def close(self) -> None:
        """Leave the link to its owner."""


class HttpPlace:
    """A witness at a URL, the submission prefix; the connection stays open between asks.

    Args:
        authority: certificates that its own must be signed by; the system's if None.

    Raises:
        ConfigError: not https, nor http on this machine; or the authority cannot be read.
    """

    def __init__(self, url: str, authority: Path | None = None) -> None:
        import httpx  # noqa: PLC0415  slow to load, and few hubs have such a witness

        self._url = check_url(url).rstrip("/") + _PATH
        self._name = urlsplit(url).netloc
        try:
            context = ssl.create_default_context(cafile=authority)
        except OSError as error:
            raise ConfigError("witness: its authority cannot be read; correct the path") from error
        self._client = httpx.Client(
            verify=context,
            headers={"Accept-Encoding": "identity", "Content-Type": _REQUEST_TYPE},
            # The address is what the operator configured: no proxy of the environment.
            trust_env=False,
        )

    def ask(self, request: bytes, timeout_s: float) -> WitnessAnswer:
        """As `Place.ask`."""
        import httpx  # noqa: PLC0415  as above

        ends_at = monotonic() + timeout_s
        try:
            with self._client.stream(
                "POST", self._url, content=request, timeout=timeout_s
            ) as response:
                body = self._body(response, ends_at)
                kind = response.headers.get("content-type") or "application/octet-stream"
                return WitnessAnswer(response.status_code, kind, body)
        except httpx.TransportError as error:
            raise TransportError(
                f"{self._name}: cannot be reached: {type(error).__name__}", retryable=True
            ) from error
        except ValueError as error:
            raise MalformedMessageError(f"{self._name}: no answer of a witness") from error

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def _body(self, response: httpx.Response, ends_at: float) -> bytes:
        body = bytearray()
        for piece in response.iter_raw():
            body += piece
            if len(body) > MAX_NOTE_SIZE:
                raise MalformedMessageError(f"{self._name}: more than {MAX_NOTE_SIZE} bytes")
            # The library's own limit is for each piece: one that drips would never end.
            if monotonic() > ends_at:
                raise TransportError(f"{self._name}: too slow", retryable=True)
        return bytes(body)


def check_url(url: str) -> str:
    """Return the URL of a witness that may be asked.

    Raises:
        ConfigError: anyone on the way could change what it is asked, or it is no URL.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - a port that is no number is told here
    except ValueError as error:
        raise ConfigError("witness: url cannot be read; correct it") from error
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise ConfigError("witness: url must be https://HOST[:PORT][/PREFIX]; correct it")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_local(parts.hostname)):
        raise ConfigError("witness: url must be https, or http on this machine; correct it")
    return url


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
