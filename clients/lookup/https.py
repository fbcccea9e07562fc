"""Exchanges with the hub over HTTPS: mutual certificates, retries, problems told apart.

Every call of the hub's API may be repeated: reading changes nothing, an evaluation carries
its Idempotency-Key, and publishing the same table version again is without effect. So what
the network broke is tried again here, and only what a person must decide reaches the caller:
`HubRefusedError` with the hub's own reason, or `TransportError` when the hub stays away.

No identifier of a person is ever part of a path, a header or an error.

Source:
    RFC 9457 (problem details), RFC 9110, section 14 (ranges).
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import httpx

from clients.lifetime import check_lifetime
from clients.output import CommandError
from clients.transport import Credentials
from clients.versions import HEADERS, check_hub
from compliance.atrest.secrets import secret_file
from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.versions import HEADER, IncompatibleVersionError

# One evaluation of 65,536 elements needs some seconds of every holder.
TIMEOUT_S = 60.0
PAUSES_S = (0.2, 1.0, 3.0)
SERVING_PAUSES_S = (0.2,)
MAX_BODY = 64 << 20
PIECE = 1 << 16
_PROBLEM = "urn:lianfang:problem:"
_AGAIN = frozenset({502, 503, 504})  # from whatever stands before the hub
_NOT_READY = frozenset({503, 504})
_PARTIAL = 206
_RANGE_ENDS = 416
_ERROR = 400


class HubRefusedError(CommandError):
    """The hub answered with a problem; a repetition gives the same answer.

    Attributes:
        code: the last part of the problem's type, stable: `quota_exhausted`, `not_permitted`.
        retry_after_s: when to ask again, if the hub said.
        current_version: of the table in force, where another one was published first.
    """

    def __init__(
        self,
        code: str,
        title: str,
        detail: str,
        retry_after_s: int | None = None,
        current_version: int | None = None,
    ) -> None:
        super().__init__(f"the hub refused ({code}): {detail or title}")
        self.code = code
        self.title = title
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.current_version = current_version


class Https:
    """A connection to one hub, kept open between calls; for several threads at once."""

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        timeout_s: float,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._pauses_s = pauses_s
        self._limits = httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0))
        self._lock = threading.Lock()
        self._shown = _stamp(credentials)
        self._clients = [self._connect()]

    def close(self) -> None:
        """Give the connections back."""
        for client in self._clients:
            client.close()

    def _connect(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"https://{self._address}",
            verify=client_context(self._credentials),
            timeout=self._limits,
            # Records do not compress, and an answer is as long as it says.
            headers={"Accept-Encoding": "identity", **HEADERS},
            # The address is what the partner configured: no proxy of the environment.
            trust_env=False,
        )

    def _client(self) -> httpx.Client:
        """Return what shows the certificate in use: another one once that was renewed.

        What is under way goes on over the connections before, which are closed at the end.
        """
        with self._lock:
            stamp = _stamp(self._credentials)
            if stamp is not None and stamp != self._shown:
                self._clients.append(self._connect())
                self._shown = stamp
            return self._clients[-1]

    def fetch(self, path: str, *, limit: int = MAX_BODY) -> bytes:
        """Read a whole resource of at most `limit` bytes.

        Raises:
            HubRefusedError: the hub answered with a problem.
            IncompatibleVersionError: hub and node are too many versions apart; says the cure.
            TransportError: it cannot be reached.
            MalformedMessageError: the answer is longer.
        """
        return self._exchange("GET", path, {}, None, limit)

    def send(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        pauses_s: Sequence[float] | None = None,
    ) -> bytes:
        """Post a body and return the answer; repeated with the same headers if need be.

        Args:
            pauses_s: how long to wait before each further try, where it is not as usual.

        Raises:
            HubRefusedError: the hub answered with a problem.
            TransportError: it cannot be reached.
        """
        return self._exchange("POST", path, headers, body, MAX_BODY, pauses_s)

    def download(self, path: str, sink: BinaryIO, *, limit: int) -> None:
        """Write a large immutable resource to a file, going on where the network broke off.

        The caller verifies the whole: a resumed file may hold anything until then.

        Raises:
            HubRefusedError: the hub answered with a problem.
            TransportError: it cannot be reached.
            MalformedMessageError: the resource is longer than `limit`.
        """
        for pause_s in (*self._pauses_s, None):
            try:
                self._download_once(path, sink, limit)
            except TransportError as error:
                if pause_s is None or not error.retryable:
                    raise
                time.sleep(pause_s)
            else:
                return

    def _exchange(  # noqa: PLR0917  # what HTTP is made of
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        limit: int,
        pauses_s: Sequence[float] | None = None,
    ) -> bytes:
        for pause_s in (*(self._pauses_s if pauses_s is None else pauses_s), None):
            try:
                with self._answer(method, path, headers, body) as response:
                    return b"".join(_pieces(response, limit))
            except TransportError as error:
                if pause_s is None or not error.retryable:
                    raise
                time.sleep(pause_s)
        raise AssertionError("unreachable: the last try returns or raises")

    def _download_once(self, path: str, sink: BinaryIO, limit: int) -> None:
        had = sink.seek(0, 2)
        headers = {"Range": f"bytes={had}-"} if had else {}
        with self._answer("GET", path, headers, None) as response:
            if response.status_code == _RANGE_ENDS:
                return
            if had and response.status_code != _PARTIAL:
                sink.truncate(0)
                had = sink.seek(0)
            for piece in _pieces(response, limit - had):
                sink.write(piece)

    @contextmanager
    def _answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Iterator[httpx.Response]:
        try:
            with self._client().stream(
                method, path, headers=dict(headers), content=body
            ) as response:
                if response.status_code >= _ERROR and response.status_code != _RANGE_ENDS:
                    raise _problem(response, b"".join(_pieces(response, PIECE)))
                check_hub(response.headers.get(HEADER))
                yield response
        except httpx.TransportError as error:
            # The text of the library may hold a path, never a body; it is left out all the same.
            raise TransportError(
                f"the hub at {self._address} cannot be reached: {type(error).__name__}",
                retryable=not _is_final(error),
            ) from error


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """Return what a call to the hub needs of TLS: its authority, and this node's certificate.

    Raises:
        TransportError: the credentials cannot be read.
    """
    check_lifetime(credentials.certificate)
    try:
        context = ssl.create_default_context(cafile=str(credentials.authority))
        with secret_file(credentials.key) as key:
            context.load_cert_chain(str(credentials.certificate), str(key))
    except OSError as error:
        raise TransportError(
            "credentials cannot be read; join the hub first", retryable=False
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _stamp(credentials: Credentials) -> tuple[int, int] | None:
    """Return what changes when the certificate is replaced; it is, as a whole, after its key."""
    try:
        found = credentials.certificate.stat()
    except OSError:
        return None  # while it is being replaced, or gone: the connections there are go on
    return found.st_ino, found.st_mtime_ns


def _pieces(response: httpx.Response, limit: int) -> Iterator[bytes]:
    size = 0
    for piece in response.iter_bytes(PIECE):
        size += len(piece)
        if size > limit:
            raise MalformedMessageError(f"answer of the hub: more than {limit} bytes")
        yield piece


def _is_final(error: httpx.TransportError) -> bool:
    """Whether repeating cannot help: a certificate that does not verify stays wrong."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return isinstance(error, httpx.UnsupportedProtocol)


def _problem(response: httpx.Response, body: bytes) -> Exception:
    """Read a problem; anything else with an error status counts as a failure of the way."""
    value = _object(response, body)
    kind = value.get("type")
    if not isinstance(kind, str) or not kind.startswith(_PROBLEM):
        return TransportError(
            f"the hub answered with status {response.status_code}",
            retryable=response.status_code in _AGAIN,
        )
    title, detail = (str(value.get(name, ""))[:500] for name in ("title", "detail"))
    code = kind.removeprefix(_PROBLEM)[:64]
    if code == IncompatibleVersionError.code:
        return IncompatibleVersionError(detail or title)
    if response.status_code in _NOT_READY:
        return TransportError(f"the hub is not ready ({code}): {detail or title}", retryable=True)
    version = value.get("current_version")
    return HubRefusedError(
        code,
        title,
        detail,
        _seconds(response.headers.get("retry-after")),
        version if isinstance(version, int) else None,
    )


def _object(response: httpx.Response, body: bytes) -> dict[str, Any]:
    try:
        value = httpx.Response(response.status_code, content=body).json()
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _seconds(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
