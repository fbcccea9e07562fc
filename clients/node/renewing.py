"""Renewing a node's certificate: a new TLS key, asked for by the old one and the identity key.

What is connected stays connected; every new connection shows the new certificate. Nothing of the
old pair is touched before the new one lies whole beside it (see `clients.keys`).
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509

from clients.keys import (
    CERTIFICATE,
    KeyStoreError,
    credentials,
    hub_name,
    load_keys,
    next_request,
    store_renewal,
)
from clients.lookup.https import TIMEOUT_S, Https
from clients.node.brought import is_brought
from clients.node.home import Home
from clients.output import CommandError
from compliance.clock import Clock, SystemClock
from compliance.configuration import ConfigError
from protocols.codec import parse_json
from protocols.enrolment.words import sign_renewal
from protocols.errors import MalformedMessageError, ProtocolError
from protocols.link import TransportError

PATH = "/v1/certificate"
_ALIVE = "/healthz"
_HEADERS = {"Content-Type": "application/json"}
# With less than this part of its time left a certificate is renewed without being asked.
_PART_LEFT = 3
LOOK_EVERY_S = 6 * 3600.0
AGAIN_S = 900.0
STOP_S = 5.0
_log = logging.getLogger("lianfang.node")


def load_certificate(home: Home) -> x509.Certificate:
    """Read the certificate in use.

    Raises:
        ConfigError: this node has not joined, or the file is damaged.
    """
    credentials(home.keys)  # finishes a renewal that a crash broke off
    try:
        return x509.load_pem_x509_certificate((home.keys / CERTIFICATE).read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{CERTIFICATE}: cannot be read; join a hub first") from error


def is_due(certificate: x509.Certificate, now: int) -> bool:
    """Report whether less than a third of a certificate's time is left."""
    begins = certificate.not_valid_before_utc.timestamp()
    ends = certificate.not_valid_after_utc.timestamp()
    return (ends - now) * _PART_LEFT < ends - begins


def renew(directory: Path) -> x509.Certificate:
    """Get a certificate for a new TLS key from the hub, and put both in use; returns it.

    Raises:
        ConfigError, KeyStoreError: this node's files, or the answer, cannot be used.
        HubRefusedError: the hub says no. TransportError: it cannot be reached.
    """
    home = Home(directory)
    config, hub = home.config(), hub_name(home.keys)
    with _alone(home):
        serial = load_certificate(home).serial_number
        request = next_request(home.keys, config.name)
        signature = sign_renewal(
            load_keys(home.keys).identity, hub, config.name, serial=serial, request=request
        )
        body = {"tls_request": request.decode(), "signature": signature.hex()}
        https = Https(config.api, credentials(home.keys), TIMEOUT_S)
        try:
            answer = parse_json(https.send(PATH, json.dumps(body).encode(), _HEADERS), "renewal")
        finally:
            https.close()
        text = answer.get("certificate") if isinstance(answer, dict) else None
        if not isinstance(text, str):
            raise MalformedMessageError("renewal: the answer holds no certificate")
        store_renewal(home.keys, text.encode())
    _show(config.api, home)
    return load_certificate(home)


def _show(address: str, home: Home) -> None:
    """Show the new certificate to the hub, which from then on counts the one before as renewed."""
    https = Https(address, credentials(home.keys), TIMEOUT_S, ())
    try:
        https.fetch(_ALIVE)
    except (CommandError, ProtocolError, TransportError):
        _log.info("certificate: could not be shown to the hub yet")  # the next connection does
    finally:
        https.close()


def renew_if_due(directory: Path, now: int) -> bool:
    """Renew the certificate if less than a third of its time is left; tells whether it was.

    One that was brought along is not: somebody must bring the next, and is told so.
    """
    home = Home(directory)
    certificate = load_certificate(home)
    if not is_due(certificate, now):
        return False
    if is_brought(home.keys):
        _log.warning(
            "certificate: the company's own ends on %s; bring the next one with `lianfang node "
            "renew --certificate`",
            f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        )
        return False
    renew(directory)
    return True


_KNOWN = (CommandError, ConfigError, KeyStoreError, OSError, ProtocolError, TransportError)


class Renewal:
    """Looks after a node's certificate while the node runs, in a thread of its own.

    A hub that is away or says no costs a line in the log and another try; `doctor` tells when it
    becomes urgent.
    """

    def __init__(self, directory: Path, *, clock: Clock | None = None) -> None:
        self._directory = directory
        self._clock = clock or SystemClock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="renewal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(STOP_S)

    def _watch(self) -> None:
        while True:
            if self._stop.wait(LOOK_EVERY_S if self._look() else AGAIN_S):
                return

    def _look(self) -> bool:
        """Renew if it is due; tells whether all is well."""
        try:
            if renew_if_due(self._directory, self._clock.now()):
                _log.info("certificate: renewed")
        except _KNOWN as error:
            _log.warning("certificate: could not be renewed: %s", error)
            return False
        return True


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Keep other processes of this node from renewing at the same time."""
    descriptor = os.open(home.keys / ".renewal.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
