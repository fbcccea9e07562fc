"""Joining a hub by a code: the hub is known by its authority's fingerprint, and by nothing else.

    1  ask the hub for its authority's certificate, believing nothing; its SHA-256 must be the
       one in the code. Until then nothing but this question has left
    2  from here on TLS is verified by that authority and the hub's address, and no other
    3  send the request: public halves of keys, the contract, the code's secret, all signed by
       the identity key
    4  ask until two people at the hub have decided, each time with a proof of that key

All of it may be broken off and repeated with the same code: the hub knows the request again.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import httpx

from clients.keys import load_keys
from clients.lookup.https import HubRefusedError
from clients.node.home import Home
from clients.node.joining import join_request, keep_welcome
from clients.output import CommandError
from clients.versions import HEADERS, check_hub
from compliance.configuration import ConfigError
from compliance.errors import ComplianceError
from protocols.codec import parse_json
from protocols.enrolment.code import InvitationCode
from protocols.enrolment.words import prove_asking, sign_join
from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.versions import HEADER, IncompatibleVersionError

ASK_EVERY_S = 3.0
TIMEOUT_S = 20.0
MAX_ANSWER = 256 << 10
_PROBLEM = "urn:lianfang:problem:"
_ERROR, _TOO_MANY = 400, 429
_APPROVED, _REJECTED = "approved", "rejected"


class StillWaitingError(CommandError):
    """Nobody at the hub has decided yet."""


class RejectedError(ComplianceError):
    """The hub's people turned the request down, for the reason that they give."""

    code: ClassVar[str] = "rejected"

    def __init__(self, reason: str) -> None:
        shown = "".join(mark if mark.isprintable() else " " for mark in reason)
        super().__init__(
            f"join: the hub's people rejected the request: {shown}; nothing was taken in here or "
            "there. Talk to the hub's operator, who can give a new code"
        )


def join_by_code(
    directory: Path,
    text: str,
    *,
    wait_s: float,
    say: Callable[[str], object] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> str:
    """Ask a hub to take this node in, wait for the answer and keep it; returns the hub's name.

    Args:
        text: the code.
        wait_s: how long to ask for the answer.
        say: is told once that the request has arrived and waits.

    Raises:
        MalformedMessageError: no code, typed wrongly, or an answer that is none.
        ConfigError: the node's directory, or the hub is not the one of the code.
        HubRefusedError: the code does not count at this hub.
        StillWaitingError: nobody has decided in time; repeat the command.
        RejectedError: they decided against it; says why.
        TransportError: the hub cannot be reached, or is another one.
    """
    code = InvitationCode.parse(text)
    home = Home(directory)
    request, identity = join_request(home), load_keys(home.keys).identity
    authority = fetch_authority(code)
    signature = sign_join(identity, code.hub, code.secret, request)
    body = {"secret": code.secret.hex(), "request": request, "signature": signature.hex()}
    ends_at = time.monotonic() + wait_s
    with _client(code, authority) as client:
        number = str(_exchange(client, "POST", "/v1/enrolment", body).get("number"))
        say(number)
        while True:
            proof = prove_asking(identity, code.hub, number, int(time.time()))
            found = _ask(client, number, proof)
            if found.get("state") == _APPROVED:
                return keep_welcome(directory, _checked(found.get("welcome"), code, authority))
            if found.get("state") == _REJECTED:
                raise RejectedError(str(found.get("reason"))[:500])
            if time.monotonic() >= ends_at:
                raise StillWaitingError(
                    "the hub has the request, and nobody has decided yet; repeat this command"
                )
            sleep(ASK_EVERY_S)


def fetch_authority(code: InvitationCode) -> str:
    """Return the certificate of the hub's authority (PEM), which is the one that the code names.

    Raises:
        ConfigError: who answers is not the hub of the code.
        TransportError: nobody answers.
    """
    # Anybody may answer: what comes is public, and compared with the code before it is used.
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    with _connected(code.api, blind) as client:
        text = _exchange(client, "GET", "/v1/enrolment", None).get("authority")
    try:
        der = ssl.PEM_cert_to_DER_cert(text) if isinstance(text, str) else b""
    except ValueError:
        der = b""
    if sha256(der).digest() != code.fingerprint:
        raise ConfigError(
            f"hub: who answers at {code.api} is not the hub of this code; nothing was sent. "
            "Compare the code, and ask the hub's operator"
        )
    return ssl.DER_cert_to_PEM_cert(der)


def _checked(welcome: object, code: InvitationCode, authority: str) -> dict[str, Any]:
    """Return a welcome that is of the hub and the authority of the code."""
    if not isinstance(welcome, dict):
        raise MalformedMessageError("welcome: not an object")
    try:
        der = ssl.PEM_cert_to_DER_cert(str(welcome.get("authority")))
    except ValueError as error:
        raise MalformedMessageError("welcome: authority is not a certificate") from error
    if welcome.get("hub") != code.hub or der != ssl.PEM_cert_to_DER_cert(authority):
        raise ConfigError("welcome: of another hub than the code's; ask the hub's operator")
    return welcome


@contextmanager
def _client(code: InvitationCode, authority: str) -> Iterator[httpx.Client]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    with _connected(code.api, context) as client:
        yield client


@contextmanager
def _connected(address: str, context: ssl.SSLContext) -> Iterator[httpx.Client]:
    # The address is what the code says: no proxy of the environment, no redirect.
    with httpx.Client(
        base_url=f"https://{address}",
        verify=context,
        timeout=TIMEOUT_S,
        trust_env=False,
        headers=dict(HEADERS),
    ) as client:
        yield client


def _ask(client: httpx.Client, number: str, proof: str) -> dict[str, Any]:
    """Ask how the request stands; a hub that is away for a moment is asked again later."""
    try:
        path = f"/v1/enrolment/{number}"
        return _exchange(client, "GET", path, None, {"Lianfang-Proof": proof})
    except TransportError as error:
        if not error.retryable:
            raise
        return {}


def _exchange(
    client: httpx.Client,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Send one request and return the object that comes back."""
    try:
        with client.stream(method, path, json=body, headers=headers) as response:
            data = b""
            for piece in response.iter_bytes():
                data += piece
                if len(data) > MAX_ANSWER:
                    raise MalformedMessageError(f"answer of the hub: more than {MAX_ANSWER} bytes")
    except httpx.TransportError as error:
        raise TransportError(
            f"the hub at {client.base_url.netloc.decode()} cannot be reached, or is not the one "
            f"of the code: {type(error).__name__}",
            retryable=not _is_foreign(error),
        ) from error
    value = parse_json(data, "answer of the hub")
    if not isinstance(value, dict):
        raise MalformedMessageError("answer of the hub: not an object")
    if response.status_code >= _ERROR:
        raise _refusal(response.status_code, value)
    check_hub(response.headers.get(HEADER))
    return value


def _refusal(status: int, value: dict[str, Any]) -> Exception:
    code = str(value.get("type", "")).removeprefix(_PROBLEM)[:64]
    title, detail = (str(value.get(name, ""))[:500] for name in ("title", "detail"))
    if code == IncompatibleVersionError.code:
        return IncompatibleVersionError(detail or title)
    if status == _TOO_MANY or status > 500:  # noqa: PLR2004  503 and its like pass
        return TransportError(f"the hub is not ready ({code}): {detail or title}", retryable=True)
    return HubRefusedError(code, title, detail)


def _is_foreign(error: BaseException | None) -> bool:
    """Whether the other side could not show a certificate of the authority."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
