"""Asking the holders whose streams end at the process that serves the link, from another one.

    worker -> serving process   one control request for each ask, with the hub's own certificate
    serving process -> holder   the ask, over the holder's standing stream

A worker has no streams of its own: nodes dial the link, and that is one process. While it is
away nobody is connected here either, and what needs another holder is refused as it is where
no holder is connected.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Final

import grpc

from compliance.atrest.secrets import read_secret
from protocols.errors import MalformedMessageError
from protocols.link import CONTROL_METHOD, MAX_ENVELOPE_SIZE, TransportError
from server.standing.registry import HolderRefusedError, Standing

ASK, CONNECTED = "ask_holder", "connected_holders"
ACTIONS: Final = frozenset({ASK, CONNECTED})
LOOK_EVERY_S = 0.5
# Who was connected so long ago may have gone: nobody counts as connected then.
STALE_S = 5.0
_LOOK_TIMEOUT_S = 2.0
_SPARE_S = 2.0
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_ENVELOPE_SIZE),
    ("grpc.max_send_message_length", MAX_ENVELOPE_SIZE),
    ("grpc.keepalive_time_ms", 8_000),
    ("grpc.keepalive_timeout_ms", 12_000),
    # A worker looks for the serving process again soon after it was started anew.
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
_log = logging.getLogger("lianfang.link")


def answer_forwarded(standing: Standing, request: dict[str, Any]) -> dict[str, Any]:
    """Do what a worker asks of the process that serves the link.

    Raises:
        MalformedMessageError: it is no such request.
    """
    match request:
        case {"action": "connected_holders"}:
            return {"connected": sorted(standing.connected())}
        case {
            "action": "ask_holder",
            "holder": str(holder),
            "kind": str(kind),
            "body": str(body),
            "timeout_s": float(timeout_s) | int(timeout_s),
        }:
            try:
                answer = standing.ask(holder, kind, _bytes(body), timeout_s)
            except HolderRefusedError as error:
                return {"refused": error.code, "text": error.text}
            except TransportError as error:
                return {"lost": str(error), "retryable": error.retryable}
            return {"answer": answer.hex()}
    raise MalformedMessageError("control: not a request about holders")


class Forwarding:
    """The contract of `server.lookup.asking.Holders` by way of the serving process.

    Args:
        address: of the link.
        authority, certificate, key: the hub's own, as for every control request.
    """

    def __init__(self, address: str, *, authority: Path, certificate: Path, key: Path) -> None:
        credentials = grpc.ssl_channel_credentials(
            authority.read_bytes(), read_secret(key), certificate.read_bytes()
        )
        self._channel = grpc.secure_channel(address, credentials, options=_OPTIONS)
        self._call: Callable[..., bytes] = self._channel.unary_unary(CONTROL_METHOD)
        self._stop = threading.Event()
        self._seen: tuple[frozenset[str], float] = frozenset(), float("-inf")
        self._thread = threading.Thread(target=self._look_on, name="forwarding", daemon=True)

    def start(self) -> None:
        """Look who is connected, from here on."""
        self._look()
        self._thread.start()

    def connected(self) -> frozenset[str]:
        """Return the names of the nodes that can be asked, as of the last look."""
        names, at = self._seen
        return names if monotonic() - at < STALE_S else frozenset()

    def ask(self, holder: str, kind: str, body: bytes, timeout_s: float) -> bytes:
        """Ask one holder and return its answer; many asks may be in flight.

        Raises:
            HolderRefusedError: the holder says no, and why.
            TransportError: it or the serving process cannot be reached; names the holder.
        """
        request = {
            "action": ASK,
            "holder": holder,
            "kind": kind,
            "body": body.hex(),
            "timeout_s": timeout_s,
        }
        try:
            found = self._request(request, timeout_s + _SPARE_S)
        except grpc.RpcError as error:
            raise TransportError(
                f"{holder}: the process that serves the link is away",
                retryable=True,
                party=holder,
            ) from error
        match found:
            case {"answer": str(answer)}:
                return _bytes(answer)
            case {"refused": str(code), "text": str(text)}:
                raise HolderRefusedError(holder, code, text)
            case {"lost": str(text), "retryable": bool(retryable)}:
                raise TransportError(text, retryable=retryable, party=holder)
        raise TransportError(f"{holder}: no answer could be read", retryable=True, party=holder)

    def close(self) -> None:
        """Look no more, and give the connection back; safe to repeat."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._channel.close()

    def _request(self, request: dict[str, Any], timeout_s: float) -> Any:
        return json.loads(self._call(json.dumps(request).encode(), timeout=timeout_s))

    def _look(self) -> None:
        try:
            found = self._request({"action": CONNECTED}, _LOOK_TIMEOUT_S)
        except (grpc.RpcError, ValueError):
            if self._seen[0]:
                _log.warning("link: the process that serves it is away; no holder can be asked")
            # An ask that is under way finds out by itself; a new one is not begun.
            self._seen = frozenset(), self._seen[1]
            return
        names = found.get("connected") if isinstance(found, dict) else None
        if isinstance(names, list):
            self._seen = frozenset(map(str, names)), monotonic()

    def _look_on(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self._look()


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise MalformedMessageError("control: not hexadecimal") from error
