"""The addresses of proxies, as hub.json has them."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from compliance.configuration import ConfigError

_MOST_PROXIES = 32

Network = IPv4Network | IPv6Network


def parse_proxies(text: str) -> tuple[Network, ...]:
    """Read addresses and networks with commas between them; empty is none.

    Raises:
        ConfigError: one of them is neither.
    """
    pieces = [piece.strip() for piece in text.split(",")] if text.strip() else []
    try:
        found = tuple(ip_network(piece) for piece in pieces)
    except ValueError as error:
        raise ConfigError(
            "hub.json: proxies must be addresses or networks (192.0.2.0/24) with commas between "
            "them; correct it"
        ) from error
    if len(found) > _MOST_PROXIES or any(network.prefixlen == 0 for network in found):
        raise ConfigError("hub.json: proxies names everybody, or more than 32; name each proxy")
    return found
