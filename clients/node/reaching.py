"""Whether a node reaches its hub: three doors, how fast, under which clock and version.

The API is asked twice: without our certificate, whether the hub is there, and with it, whether
it lets us in. What comes back is looked at and never kept.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property

from clients.dialling import Credentials
from clients.keys import AUTHORITY, CERTIFICATE
from clients.lookup.https import client_context
from clients.node.home import Home
from clients.versions import HEADERS, check_hub
from compliance.configuration import ConfigError
from compliance.doctor.seen import FAIL, PASS, WARN, Seen
from protocols.codec import parse_json
from protocols.versions import HEADER

_CONNECT_S = 3.0
_SLOW_S = 0.5
# What is signed here is refused there when it is older than some minutes.
# The date of an answer has whole seconds, and may be of the second before.
_TICKS_S = 2.0
_SKEW_WARN_S, _SKEW_FAIL_S = 5.0, 60.0
_MAX_ANSWER = 1 << 16
_OK, _FORBIDDEN = 200, 403
_KEY = "tls.key"
_UNKNOWN = Seen(WARN, "not known: the hub cannot be asked")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    at: float


class Reaching:
    """What one doctor finds at the hub; every door is asked once."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def link(self) -> Seen:
        """Whether the link's port takes connections."""
        return _connects(self._home.config().link)

    def flower(self) -> Seen:
        """Whether Flower's door takes connections."""
        return _connects(self._home.config().flower)

    def api(self) -> Seen:
        """Whether the hub's API answers under the authority that this node trusts."""
        answer = self._healthy
        told = f"{_milliseconds(answer.seconds)}, status {answer.status}"
        if answer.status != _OK:
            return Seen(FAIL, told)
        return Seen(PASS if answer.seconds < _SLOW_S else WARN, told)

    def lets_us_in(self) -> Seen:
        """Whether the hub takes this node's certificate."""
        if not self._is_reached:
            return _UNKNOWN
        answer = self._ask("/openapi.json", with_certificate=True)
        if answer.status == _OK:
            return Seen(PASS)
        value = parse_json(answer.body, "answer of the hub") if answer.body else {}
        title = value.get("title") if isinstance(value, dict) else ""
        return Seen(FAIL, f"status {answer.status}: {str(title)[:200]}")

    def clock(self) -> Seen:
        """Whether this machine's clock and the hub's tell the same time."""
        if not self._is_reached:
            return _UNKNOWN
        answer = self._healthy
        try:
            theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp() + 0.5
        except ValueError:
            return Seen(WARN, "the hub's answer has no date")
        skew = answer.at - theirs
        away = abs(skew)
        level = PASS if away <= _SKEW_WARN_S else WARN if away <= _SKEW_FAIL_S else FAIL
        side = "ahead of" if skew > 0 else "behind"
        return Seen(
            level, f"{away:.0f} s {side} the hub" if away > _TICKS_S else "within two seconds"
        )

    def version(self) -> Seen:
        """Whether hub and node are of neighbouring versions."""
        if not self._is_reached:
            return _UNKNOWN
        theirs = self._healthy.headers.get(HEADER, "")
        check_hub(theirs)
        return Seen(PASS, f"the hub speaks {theirs}" if theirs else "the hub says none: version 1")

    @cached_property
    def _is_reached(self) -> bool:
        """Whether there is anything to ask; why not is told once, where the API is asked."""
        try:
            return self._healthy.status > 0
        except (ConfigError, OSError):
            return False

    @cached_property
    def _healthy(self) -> _Answer:
        return self._ask("/healthz", with_certificate=False)

    def _ask(self, path: str, *, with_certificate: bool) -> _Answer:
        host, port = _split(self._home.config().api)
        keys = self._home.root / "keys"
        if with_certificate:
            names = (AUTHORITY, CERTIFICATE, _KEY)
            context = client_context(Credentials(*(keys / name for name in names)))
        else:
            context = ssl.create_default_context(cafile=str(keys / AUTHORITY))
        connection = http.client.HTTPSConnection(host, port, timeout=_CONNECT_S, context=context)
        began, wall = time.monotonic(), time.time()
        try:
            connection.request("GET", path, headers=dict(HEADERS))
            response = connection.getresponse()
            body = response.read(_MAX_ANSWER)
            headers = {name.lower(): value for name, value in response.getheaders()}
            status = response.status
        except (ConnectionError, TimeoutError, socket.gaierror) as error:
            told = f"nobody answers at {host}:{port} ({type(error).__name__})"
            raise ConfigError(told) from error
        except ssl.SSLError as error:
            raise ConfigError(f"TLS is refused: {error.reason or type(error).__name__}") from error
        except http.client.HTTPException as error:
            raise ConfigError(f"what answers is no hub ({type(error).__name__})") from error
        finally:
            connection.close()
        seconds = time.monotonic() - began
        return _Answer(status, headers, body, seconds, wall + seconds / 2)


def _connects(address: str) -> Seen:
    host, port = _split(address)
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), _CONNECT_S):
            seconds = time.monotonic() - began
    except OSError as error:
        return Seen(FAIL, f"nobody answers at {address} ({type(error).__name__})")
    return Seen(PASS if seconds < _SLOW_S else WARN, _milliseconds(seconds))


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError("node.json: no address of a hub; join one first")
    return host.strip("[]"), int(port)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
