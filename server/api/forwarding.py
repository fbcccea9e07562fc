"""Certificates that a proxy hands on: believed from configured proxies alone, and never its word.

    direct    the certificate of the connection is the caller's; a header that claims another is
              refused, whoever sends it, since an honest caller has no reason for one
    proxied   the connection shows a proxy's certificate (`lianfang-hub authority proxy`) and comes
              from an address in `proxies` of hub.json: `Client-Cert` holds the caller's, which is
              verified here as if it were direct: signature, time, name, and later revocation

An address alone is not enough, nor is loopback: any account of a machine could dial from there,
and a certificate is no secret.

`Client-Cert` is read in two forms: the byte sequence of RFC 9440, section 2.2, and the
percent-encoded PEM that nginx has as `$ssl_client_escaped_cert`, since nginx cannot write the
former. They begin differently, and one header with one value is the only thing that is taken.

From a proxy, the last address of `X-Forwarded-For` that is no proxy's counts as where a caller
without a certificate comes from: for how often it may ask, and for nothing else.
"""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import Scope

from protocols.errors import InvalidProofError, MalformedMessageError
from server.addresses import Network
from server.identity.admission import Peer

CERTIFICATE, CHAIN = "client-cert", "client-cert-chain"
FOR = "x-forwarded-for"
REFUSED = "refused"
MAX_VALUE = 12 << 10
MAX_KEPT = 256
Verifies = Callable[[bytes], Peer]


class Forwarding:
    """Decides for each request whose certificate it comes with; for one thread.

    Args:
        verify: names the holder of a certificate (DER) of which nothing is verified yet, or
            raises a ProtocolError.
        second: changes each second, and with the authorities that are trusted: for so long a
            verification holds.
        bars: whether the certificate of a proxy, by its serial number, counts no more.
    """

    def __init__(
        self,
        proxies: tuple[Network, ...],
        verify: Verifies,
        second: Callable[[], object] = lambda: None,
        bars: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._proxies = proxies
        self._bars = bars
        self._verify = verify
        self._second = second
        self._verified: OrderedDict[tuple[object, str], dict[str, Any]] = OrderedDict()

    def peer(self, scope: Scope, direct: dict[str, Any]) -> dict[str, Any]:
        """Return whom a request comes from, with `refused` in it if it must be refused.

        Args:
            direct: of the connection; with `is_proxy` if its certificate is a proxy's.
        """
        headers = Headers(scope=scope)
        shown = headers.getlist(CERTIFICATE)
        host = (scope.get("client") or ("", 0))[0]
        if not direct.get("is_proxy") or not self._is_proxy(host):
            if shown or CHAIN in headers:
                return {**direct, REFUSED: "only a configured proxy may hand on a certificate"}
            return direct
        if self._bars(direct["serial"]):
            return _refused("the certificate of this proxy was revoked")
        self._set_address(scope, headers.getlist(FOR))
        if not shown:
            return {"certificate": False, "name": None}
        if len(shown) > 1:
            return _refused("more than one certificate was handed on")
        return self._handed_on(shown[0])

    def _handed_on(self, value: str) -> dict[str, Any]:
        key = self._second(), value
        found = self._verified.get(key)
        if found is None:
            found = self._verified[key] = self._judge(value)
            while len(self._verified) > MAX_KEPT:
                self._verified.popitem(last=False)
        return dict(found)

    def _judge(self, value: str) -> dict[str, Any]:
        try:
            return describe(self._verify(parse_certificate(value)))
        except (InvalidProofError, MalformedMessageError) as error:
            return _refused(str(error))

    def _is_proxy(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._proxies)

    def _set_address(self, scope: Scope, values: list[str]) -> None:
        """Put where the caller comes from in the place of the proxy's own address."""
        for piece in reversed(",".join(values).split(",")):
            text = piece.strip()
            try:
                ip_address(text)
            except ValueError:
                return
            if not self._is_proxy(text):
                scope["client"] = (text, 0)
                return


def parse_certificate(value: str) -> bytes:
    """Return the certificate (DER) in a header, in either form.

    Raises:
        MalformedMessageError: it is in neither.
    """
    if len(value) > MAX_VALUE:
        raise MalformedMessageError(f"{CERTIFICATE}: more than {MAX_VALUE} characters")
    try:
        if value.startswith(":"):
            if len(value) < 2 or not value.endswith(":"):  # noqa: PLR2004  both colons
                raise MalformedMessageError(f"{CERTIFICATE}: not a byte sequence (RFC 9440)")
            return b64decode(value[1:-1], validate=True)
        return ssl.PEM_cert_to_DER_cert(unquote_to_bytes(value).decode("ascii"))
    except ValueError as error:
        raise MalformedMessageError(f"{CERTIFICATE}: neither RFC 9440 nor escaped PEM") from error


def describe(peer: Peer) -> dict[str, Any]:
    """Return what the routes are told of whoever has shown a certificate."""
    if peer.is_proxy:
        return {"certificate": True, "name": None, "is_proxy": True, "serial": peer.serial}
    return {
        "certificate": True,
        "name": peer.name,
        "serial": peer.serial,
        "thumbprint": peer.thumbprint,
    }


def _refused(why: str) -> dict[str, Any]:
    return {"certificate": True, "name": None, REFUSED: why}
