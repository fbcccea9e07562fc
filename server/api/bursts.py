"""How fast one caller may ask: a bucket of requests that fills with time, beside all quotas.

The quota of an epoch counts elements, the guard counts requests at a time; neither stops a
program that asks in a loop. The bucket is large enough for a desk that fetches a table bucket
by bucket and for a mirror of the log, and is counted in this process alone: a restart fills it.

A caller is the partner whose certificate TLS has verified; without one, the address it comes
from. No header says who calls.

Specification: draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4 (RateLimit-Policy and
RateLimit); RFC 6585, section 4 (429); RFC 9110, section 10.2.3 (Retry-After).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.problems import TOO_MANY, problem_response
from server.api.tls import EXTENSION

MOST_CALLERS = 4096
_POLICY = "burst"
# A provider gives one customer this much of IPv6; its addresses are one caller.
_IPV6_PREFIX = 64


@dataclass(frozen=True, slots=True)
class Pace:
    """So many requests at once, and so many a second for good."""

    burst: int
    per_s: float

    @property
    def fills_in_s(self) -> int:
        """Return the seconds in which an empty bucket is full again."""
        return math.ceil(self.burst / self.per_s)


PARTNER = Pace(burst=2000, per_s=200)
# Health checks, and nodes that wait to be taken in, which have limits of their own.
STRANGER = Pace(burst=200, per_s=20)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a caller is told that asks too fast.

    Args:
        wait_s: until one more request is taken.
    """

    pace: Pace
    wait_s: int

    def headers(self) -> dict[str, str]:
        """Return the fields of the answer."""
        policy = f'"{_POLICY}";q={self.pace.burst};w={self.pace.fills_in_s}'
        return {
            "RateLimit-Policy": policy,
            "RateLimit": f'"{_POLICY}";r=0;t={self.wait_s}',
            "Retry-After": str(self.wait_s),
        }


class Buckets:
    """One bucket for each caller; for one thread, which is the event loop's.

    Callers beyond `MOST_CALLERS` push out those that were idle longest, whose buckets are full
    again by then unless that many ask at once.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._callers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, pace: Pace) -> Refusal | None:
        """Take one request from a caller's bucket; a refusal if there is none in it."""
        now = self._clock()
        level, at = self._callers.get(caller, (float(pace.burst), now))
        level = min(float(pace.burst), level + (now - at) * pace.per_s)
        taken = level >= 1
        self._callers[caller] = (level - taken, now)
        self._callers.move_to_end(caller)
        while len(self._callers) > MOST_CALLERS:
            self._callers.popitem(last=False)
        return None if taken else Refusal(pace, max(1, math.ceil((1 - level) / pace.per_s)))


class Bursts:
    """ASGI middleware: refuses callers that ask faster than they may.

    Args:
        partner, stranger: the pace of who showed a certificate of ours, and of who did not.
    """

    def __init__(self, app: ASGIApp, *, partner: Pace = PARTNER, stranger: Pace = STRANGER) -> None:
        self._app = app
        self._partner = partner
        self._stranger = stranger
        self._buckets = Buckets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it before anything of it is read."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            # What is left of the body must not be read as the next request.
            headers = refusal.headers() | {"Connection": "close"}
            answer = problem_response(TOO_MANY, str(TOO_MANY.code), headers=headers)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        name = scope.get("extensions", {}).get(EXTENSION, {}).get("name")
        if isinstance(name, str):
            return self._buckets.take(f"partner {name}", self._partner)
        host = (scope.get("client") or ("", 0))[0]
        return self._buckets.take(f"address {network_of(host)}", self._stranger)


def network_of(host: str) -> str:
    """Return the network that counts as one caller; what is no address stays as it is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.version == 4:  # noqa: PLR2004  # the version of IP
        return host
    return str(ip_network((address, _IPV6_PREFIX), strict=False))
