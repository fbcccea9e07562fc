"""Signed notes: a text, and lines in which keys with names sign it.

    <text, ending in a newline>
    <empty line>
    — <key name> base64(key id (4) || signature)          one or more

A signature counts only under a key that the reader already trusts, found by name and key id
together; lines of unknown keys are passed over, and one bad line of a known key spoils the
whole note. Until a note is verified its text means nothing.

Source:
    C2SP signed-note (https://c2sp.org/signed-note), C2SP@0552876; verifier keys and type 0x06
    as in its version 1.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.lines import format_base64, has_control, parse_base64, parse_text

KEY_ID_SIZE = 4
MAX_NOTE_SIZE = 1 << 20
MAX_SIGNATURES = 100  # verifiers "MUST accept at least up to 16 signatures"
_DASH = "— "
_HEX = frozenset("0123456789abcdef")
_NO_NAME = re.compile(r"[+\x00-\x1f\ud800-\udfff]")


class KeyKind(IntEnum):
    """The signature types that this log uses, by their assigned byte."""

    ED25519 = 0x01  # over the text itself
    COSIGNATURE = 0x04  # Ed25519 with a time, by a witness
    SUBTREE = 0x06  # ML-DSA-44 with a time and the cosigner's name


PUBLIC_SIZES = {KeyKind.ED25519: 32, KeyKind.COSIGNATURE: 32, KeyKind.SUBTREE: 1312}
PrivateKey = Ed25519PrivateKey | MLDSA44PrivateKey


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under the name by which its signatures are found."""

    name: str
    kind: KeyKind
    public: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.public) != PUBLIC_SIZES[self.kind]:
            raise ValueError(
                f"verifier key: {len(self.public)} bytes, expected {PUBLIC_SIZES[self.kind]}"
            )

    @property
    def key_id(self) -> bytes:
        """The four bytes that tell this key from others of the same name."""
        encoded = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return sha256(encoded).digest()[:KEY_ID_SIZE]

    def format(self) -> str:
        """Write `<name>+<key id in hex>+base64(type || public key)`."""
        return f"{self.name}+{self.key_id.hex()}+{format_base64(bytes([self.kind]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a verifier key.

        Raises:
            MalformedMessageError: on any other text, a key id that is not the key's own, or a
                signature type that this log does not use.
        """
        name, _, rest = text.partition("+")
        key_id, plus, encoded = rest.partition("+")
        if not plus or len(key_id) != 2 * KEY_ID_SIZE or not _HEX.issuperset(key_id):
            raise MalformedMessageError("verifier key: not <name>+<8 hex digits>+<base64>")
        data = parse_base64(encoded, "verifier key")
        try:
            found = cls(name, KeyKind(data[0] if data else 0), data[1:])
        except ValueError as error:
            raise MalformedMessageError(
                "verifier key: a bad name, an unknown signature type or a wrong length"
            ) from error
        if found.key_id.hex() != key_id:
            raise MalformedMessageError("verifier key: the key id is of another key")
        return found


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key with its name; one for each role, never shared between two."""

    name: str
    kind: KeyKind
    private: PrivateKey = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        expected = MLDSA44PrivateKey if self.kind is KeyKind.SUBTREE else Ed25519PrivateKey
        if not isinstance(self.private, expected):
            raise TypeError(f"signer: a key of type {self.kind:#04x} needs {expected.__name__}")
        check_key_name(self.name)

    @classmethod
    def from_seed(cls, name: str, kind: KeyKind, seed: bytes) -> Signer:
        """Make the signer of a 32-byte seed."""
        if kind is KeyKind.SUBTREE:
            return cls(name, kind, MLDSA44PrivateKey.from_seed_bytes(seed))
        return cls(name, kind, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def key(self) -> VerifierKey:
        """What others need to verify."""
        return VerifierKey(self.name, self.kind, self.private.public_key().public_bytes_raw())


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature with the name and id of its key; `signature` is as its type defines it."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.key_id) != KEY_ID_SIZE or not self.signature:
            raise ValueError("signature: a key id of other than 4 bytes, or nothing behind it")

    def format(self) -> str:
        """Write the line with its newline."""
        return f"{_DASH}{self.name} {format_base64(self.key_id + self.signature)}\n"

    @classmethod
    def parse(cls, text: str) -> SignatureLine:
        """Read a line without its newline.

        Raises:
            MalformedMessageError: on any other text.
        """
        name, space, encoded = text.removeprefix(_DASH).partition(" ")
        if not text.startswith(_DASH) or not space:
            raise MalformedMessageError("note: a signature line is not — <name> <base64>")
        data = parse_base64(encoded, "signature")
        try:
            return cls(name, data[:KEY_ID_SIZE], data[KEY_ID_SIZE:])
        except ValueError as error:
            raise MalformedMessageError("note: a bad key name, or a signature too short") from error

    def is_by(self, key: VerifierKey) -> bool:
        """Whether the line claims to be this key's."""
        return self.name == key.name and self.key_id == key.key_id


@dataclass(frozen=True, slots=True)
class Note:
    """A text with signatures, not yet verified."""

    text: str
    signatures: tuple[SignatureLine, ...]

    def __post_init__(self) -> None:
        check_note_text(self.text)
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise ValueError(f"note: {len(self.signatures)} signatures, not 1 to {MAX_SIGNATURES}")

    def encode(self) -> bytes:
        """Write the note."""
        lines = "".join(line.format() for line in self.signatures)
        return f"{self.text}\n{lines}".encode()

    @classmethod
    def decode(cls, data: bytes) -> Note:
        """Read a note of at most 1 MiB.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        if len(data) > MAX_NOTE_SIZE:
            raise MalformedMessageError(f"note: {len(data)} bytes, at most {MAX_NOTE_SIZE}")
        whole = parse_text(data, "note")
        # "The text is separated from the signatures by the last empty line in the note."
        text, gap, lines = whole.rpartition("\n\n")
        if not gap or not lines.endswith("\n"):
            raise MalformedMessageError("note: no empty line before whole signature lines")
        found = lines[:-1].split("\n", MAX_SIGNATURES)
        if len(found) > MAX_SIGNATURES:
            raise MalformedMessageError(f"note: more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(SignatureLine.parse(line) for line in found))

    def with_signatures(self, lines: Iterable[SignatureLine]) -> Note:
        """Return the note with further signatures, each line once."""
        return Note(self.text, tuple(dict.fromkeys((*self.signatures, *lines))))

    def lines_of(self, key: VerifierKey) -> list[SignatureLine]:
        """Return the lines that claim to be by `key`."""
        return [line for line in self.signatures if line.is_by(key)]


def sign_note(text: str, signer: Signer) -> SignatureLine:
    """Sign a text with a plain Ed25519 key."""
    if signer.kind is not KeyKind.ED25519 or not isinstance(signer.private, Ed25519PrivateKey):
        raise ValueError(f"signer {signer.name}: type {signer.kind:#04x} signs no plain text")
    check_note_text(text)
    return SignatureLine(signer.name, signer.key.key_id, signer.private.sign(text.encode()))


def verify_line(text: str, line: SignatureLine, key: VerifierKey) -> None:
    """Return only if the line is a plain Ed25519 signature of `key` over the text.

    Raises:
        InvalidProofError: it is not.
    """
    if key.kind is not KeyKind.ED25519:
        raise InvalidProofError(f"key of {key.name}: type {key.kind:#04x} signs no plain text")
    verify_ed25519(key, line.signature, text.encode())


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> list[VerifierKey]:
    """Return which of the plain Ed25519 `keys` signed the note: one at least.

    Raises:
        InvalidProofError: none did, or a line of one of them does not verify.
    """
    signed = []
    for key in keys:
        lines = note.lines_of(key)
        for line in lines:
            verify_line(note.text, line, key)
        if lines:
            signed.append(key)
    if not signed:
        raise InvalidProofError("note: not signed by any known key")
    return signed


def verify_ed25519(key: VerifierKey, signature: bytes, message: bytes) -> None:
    """Return only if the Ed25519 signature holds (RFC 8032, section 5.1.7)."""
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature as error:
        raise InvalidProofError(f"signature of {key.name} does not hold") from error


def check_key_name(name: str) -> None:
    """Refuse a key name that is empty or has a space, a plus or what is no character."""
    if not name or _NO_NAME.search(name) or any(sign.isspace() for sign in name):
        raise ValueError("key name: empty, or with a space, a plus or a control character")


def check_note_text(text: str) -> None:
    """Refuse a text that could not be read back out of a note."""
    if not text.endswith("\n") or has_control(text):
        raise ValueError("note: the text has a control character or does not end in a newline")
