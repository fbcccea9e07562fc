"""An operator's word on which key signs its log, under the identity key that partners pinned.

    {"format", "hub", "key": <hex>, "log": <origin without the year>, "signature": <hex>}

The operator keeps one log a year, `<log>/<year>`, all under one key: whoever has this pins
the log of every year. The signature covers the canonical JSON of the other fields. It says
the same as long as the key is the same, byte for byte: two that differ are the proof that the
operator showed two logs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.codec import canonical_json, parse_json
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.note import KeyKind, VerifierKey
from protocols.tlog.policy import NONE, Log, Policy

FORMAT = "lianfang/log-key/v1"
MAX_SIZE = 4_096
_SUBJECT = "key of the log"
_FIELDS = {"format", "hub", "key", "log", "signature"}
_YEAR = re.compile(r"(.+)/([1-9][0-9]{3})", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)


@dataclass(frozen=True, slots=True)
class SignedLogKey:
    """Which key signs the log of every year, with the operator's signature.

    Args:
        log: the origins without their year.
    """

    hub: str
    log: str
    public: bytes
    signature: bytes = field(repr=False)

    @property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        return canonical_json(self._fields())

    def key_of(self, origin: str) -> VerifierKey | None:
        """Return the key of the log of one year, or None if the origin is another's."""
        log, year = split_year(origin)
        if not year or log != self.log:
            return None
        return VerifierKey(origin, KeyKind.ED25519, self.public)

    def policy_of(self, origin: str) -> Policy | None:
        """Return the policy that believes this key alone and asks for no witness."""
        key = self.key_of(origin)
        return None if key is None else Policy((Log(key),), (), (), NONE)

    def format(self) -> bytes:
        """Write it as one JSON object."""
        return canonical_json(self._fields() | {"signature": self.signature.hex()})

    @classmethod
    def parse(cls, data: bytes) -> SignedLogKey:
        """Read what `format` wrote; the signature is not verified yet.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        if len(data) > MAX_SIZE:
            raise MalformedMessageError(f"{_SUBJECT}: {len(data)} bytes, at most {MAX_SIZE}")
        value = parse_json(data, _SUBJECT)
        if not isinstance(value, dict) or value.keys() != _FIELDS:
            raise MalformedMessageError(f"{_SUBJECT}: not the fields {', '.join(sorted(_FIELDS))}")
        if not all(isinstance(text, str) for text in value.values()):
            raise MalformedMessageError(f"{_SUBJECT}: a field is no text")
        if value["format"] != FORMAT:
            raise MalformedMessageError(f"{_SUBJECT}: format must be {FORMAT}")
        public, signature = (_unhex(value[name]) for name in ("key", "signature"))
        found = cls(value["hub"], value["log"], public, signature)
        try:
            key = found.key_of(f"{found.log}/1000")
        except ValueError as error:
            raise MalformedMessageError(f"{_SUBJECT}: no name or key of a log") from error
        if key is None:
            raise MalformedMessageError(f"{_SUBJECT}: no name of a log")
        return found

    def _fields(self) -> dict[str, str]:
        return {"format": FORMAT, "hub": self.hub, "key": self.public.hex(), "log": self.log}


def sign_log_key(identity: Ed25519PrivateKey, *, hub: str, log: str, public: bytes) -> SignedLogKey:
    """Sign, as an operator, which key its log has."""
    unsigned = SignedLogKey(hub, log, public, b"")
    return replace(unsigned, signature=identity.sign(unsigned.signed))


def verify_log_key(signed: SignedLogKey, identity: Ed25519PublicKey) -> None:
    """Return only if the operator's identity key signed it.

    Raises:
        InvalidProofError: it did not.
    """
    try:
        identity.verify(signed.signature, signed.signed)
    except InvalidSignature as error:
        raise InvalidProofError(f"{_SUBJECT}: the hub's signature does not hold") from error


def split_year(origin: str) -> tuple[str, str]:
    """Return an origin without its year, and the year; both empty if it ends in none."""
    found = _YEAR.fullmatch(origin)
    return (found[1], found[2]) if found else ("", "")


def policy_for(policy: Policy, origin: str) -> Policy:
    """Return a policy as it is for the log of another year: its log lines stand for every year.

    No policy lists a key twice, and an operator signs all years with one: without this an
    officer would have to change the file with every year.
    """
    log, year = split_year(origin)
    if not year or any(item.key.name == origin for item in policy.logs):
        return policy
    logs = tuple(
        replace(item, key=replace(item.key, name=origin))
        if split_year(item.key.name)[0] == log
        else item
        for item in policy.logs
    )
    return replace(policy, logs=logs)


def _unhex(text: str) -> bytes:
    if not _HEX.fullmatch(text):
        raise MalformedMessageError(f"{_SUBJECT}: key and signature must be lower-case hexadecimal")
    return bytes.fromhex(text)
