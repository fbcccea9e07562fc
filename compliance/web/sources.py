"""Where a request comes from, with or without a proxy in front."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

_SUBNET = 64  # one customer has so much of IPv6; single addresses in it are free
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sources:
    """Names the source of a request, for counting its failures.

    Args:
        proxies: addresses whose X-Forwarded-For is believed, and nobody else's.
    """

    proxies: frozenset[str] = frozenset()

    def of(self, direct: str, forwarded: Sequence[str]) -> str:
        """Return the address that the last proxy of ours was called from."""
        chain = [part.strip() for line in forwarded for part in line.split(",")]
        found = direct
        while found in self.proxies and chain:
            found = chain.pop()
        return _narrowed(found)


def _narrowed(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((address, _SUBNET), strict=False))
    return str(address)
