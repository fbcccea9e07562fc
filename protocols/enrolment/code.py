"""An invitation as a person types it: `LF1-` and groups of five letters and digits.

    version (1) || fingerprint (32) || secret (16) || length of address (1) || address || hub
    || checksum (4)

in base 32 with the alphabet of Crockford, which has no I, L, O and U: what is read out or typed
wrongly is mostly understood, and otherwise found by the checksum before anything is sent.

The fingerprint is SHA-256 of the hub's authority (DER): by it alone the partner knows that it
speaks with this hub, and with nobody between. The secret is 128 bits, counts once, and is kept
by the hub as a hash. Whoever has the code may ask in the partner's name, so it goes to one
person; who is let in, two people at the hub decide afterwards.

Source:
    https://www.crockford.com/base32.html for the alphabet; without its check symbol.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from protocols.errors import MalformedMessageError
from protocols.lookup.signing import check_hub, check_size

PREFIX = "LF1"
FINGERPRINT_SIZE = 32
SECRET_SIZE = 16
MAX_ADDRESS = 255
MAX_CODE = 1200
_VERSION = 1
_CHECKSUM = 4
_GROUP = 5
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_DOMAIN = b"lianfang/enrolment/code/v1"


@dataclass(frozen=True, slots=True)
class InvitationCode:
    """What a partner needs in order to ask a hub to be taken in.

    Args:
        api: `host:port` of the hub's API.
        hub: the hub's name.
        fingerprint: SHA-256 of the certificate of the hub's authority.
    """

    api: str
    hub: str
    fingerprint: bytes
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_size(self.fingerprint, FINGERPRINT_SIZE, "code: fingerprint")
        check_size(self.secret, SECRET_SIZE, "code: secret")
        check_hub(self.hub, "code: hub")
        host, _, port = self.api.rpartition(":")
        if (
            not host
            or not self.api.isascii()
            or not self.api.isprintable()
            or not port.isdecimal()
            or len(self.api) > MAX_ADDRESS
            or set(self.api) & set(" /@?#\\")
        ):
            raise MalformedMessageError("code: address must be host:port")

    def format(self) -> str:
        """Write the code as it is handed over."""
        address = self.api.encode()
        body = bytes([_VERSION]) + self.fingerprint + self.secret
        body += bytes([len(address)]) + address + self.hub.encode()
        digits = _to_base32(body + _checksum(body))
        groups = [digits[start : start + _GROUP] for start in range(0, len(digits), _GROUP)]
        return "-".join([PREFIX, *groups])

    @classmethod
    def parse(cls, text: str) -> InvitationCode:
        """Read a code, in capitals or not, with hyphens and spaces wherever they are.

        Raises:
            MalformedMessageError: it is none, or was typed wrongly.
        """
        if len(text) > MAX_CODE:
            raise MalformedMessageError(f"code: more than {MAX_CODE} characters")
        digits = "".join(text.split()).replace("-", "").upper()
        if not digits.startswith(PREFIX):
            raise MalformedMessageError(f"code: does not begin with {PREFIX}")
        data = _from_base32(digits.removeprefix(PREFIX))
        body, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
        if len(data) <= _CHECKSUM or _checksum(body) != checksum:
            raise MalformedMessageError("code: typed wrongly or not whole; compare it again")
        return cls._decode(body)

    @classmethod
    def _decode(cls, body: bytes) -> InvitationCode:
        start = 1 + FINGERPRINT_SIZE
        rest = start + SECRET_SIZE
        if len(body) <= rest or body[0] != _VERSION:
            raise MalformedMessageError("code: of another version")
        address, hub = (
            body[rest + 1 : rest + 1 + body[rest]],
            body[rest + 1 + body[rest] :],
        )
        try:
            return cls(address.decode(), hub.decode(), body[1:start], body[start:rest])
        except UnicodeDecodeError as error:
            raise MalformedMessageError("code: address and hub must be text") from error


def is_code(text: str) -> bool:
    """Report whether a text means to be an invitation code; it may be a wrong one."""
    return text.strip().upper().startswith(f"{PREFIX}-")


def _checksum(body: bytes) -> bytes:
    return sha256(_DOMAIN + body).digest()[:_CHECKSUM]


def _to_base32(data: bytes) -> str:
    size = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << (size * 5 - len(data) * 8)
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(size)))


def _from_base32(digits: str) -> bytes:
    number = 0
    for digit in digits:
        value = _VALUES.get(digit)
        if value is None:
            raise MalformedMessageError("code: holds a character that no code has")
        number = number << 5 | value
    size = len(digits) * 5 // 8
    spare = len(digits) * 5 - size * 8
    # One code has one form: what is left over is zero, and less than a digit.
    if spare >= 5 or number & ((1 << spare) - 1):  # noqa: PLR2004  bits of a digit
        raise MalformedMessageError("code: typed wrongly or not whole; compare it again")
    return (number >> spare).to_bytes(size, "big")
