"""Seal and open numbered frames under one key for one direction.

Wire format: `version (1) || sequence (u64) || ciphertext || tag (16)`. The nonce is four zero
bytes and the sequence number (RFC 8439, section 2.8: a nonce is never used twice with the
same key; `protocols.seal.derivation` says why none is). The associated data holds run,
phase, attempt, sender, recipient and the header, so that a frame of one phase is refused
in another even if the keys were the same by mistake.

Neither class may be shared by threads: a sequence number is taken in two steps.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from protocols.errors import InvalidProofError, MalformedMessageError, OutOfTurnError
from protocols.seal.fields import join_fields

KEY_SIZE = 32
TAG_SIZE = 16
HEADER_SIZE = 9
OVERHEAD = HEADER_SIZE + TAG_SIZE
# The bound of the library; far below the 256 GiB of RFC 8439, section 2.8.
MAX_PAYLOAD_SIZE = 2**31 - 1 - OVERHEAD
_VERSION = b"\x01"
_DOMAIN = b"lianfang seal frame v1"


class Sealer:
    """The sending end of one direction; counts its frames from 0."""

    def __init__(self, key: bytes, label: bytes, *, sender: str, recipient: str) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._context = _context(label, sender, recipient)
        self._next = 0

    def seal(self, payload: bytes) -> bytes:
        """Encrypt and number one payload.

        Privacy:
            A reader of the frame learns its length and number, nothing else.
        Source:
            RFC 8439, section 2.8 (AEAD_CHACHA20_POLY1305).
        """
        if len(payload) > MAX_PAYLOAD_SIZE:
            raise ValueError(f"payload of {len(payload)} bytes, at most {MAX_PAYLOAD_SIZE}")
        number = self._next.to_bytes(8, "big")
        # The number is spent before the cipher runs: a failure in between skips a nonce,
        # the other order could use one twice.
        self._next += 1
        header = _VERSION + number
        sealed = self._cipher.encrypt(bytes(4) + number, payload, self._context + header)
        return header + sealed


class Opener:
    """The receiving end of one direction; takes frames in order, each once.

    A refused frame leaves the state as it was, so that noise from the relay cannot
    desynchronise two parties; the caller still ends the phase.
    """

    def __init__(self, key: bytes, label: bytes, *, sender: str, recipient: str) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._context = _context(label, sender, recipient)
        self._sender = sender
        self._next = 0

    def open(self, frame: bytes) -> bytes:
        """Return the payload of the next frame.

        Raises:
            MalformedMessageError: too short, or of another version.
            InvalidProofError: altered, or sealed under another key, run, phase or attempt.
            OutOfTurnError: genuine, but not the next one: replayed, reordered or after a gap.
        Source:
            RFC 8439, section 2.8.
        """
        if len(frame) < OVERHEAD:
            raise MalformedMessageError(
                f"frame from {self._sender}: {len(frame)} bytes, need at least {OVERHEAD}"
            )
        header = frame[:HEADER_SIZE]
        if header[:1] != _VERSION:
            raise MalformedMessageError(f"frame from {self._sender}: unknown version {header[0]}")
        # The number is believed only after the tag holds, so that a flipped bit in it is
        # reported as forgery and not as a frame out of turn.
        payload = self._decrypt(header, memoryview(frame)[HEADER_SIZE:])
        number = int.from_bytes(header[1:], "big")
        if number != self._next:
            raise OutOfTurnError(f"frame {number} from {self._sender}, expected frame {self._next}")
        self._next += 1
        return payload

    def _decrypt(self, header: bytes, sealed: memoryview) -> bytes:
        try:
            return self._cipher.decrypt(bytes(4) + header[1:], sealed, self._context + header)
        except InvalidTag as error:
            raise InvalidProofError(
                f"frame from {self._sender}: not sealed by it for this run, phase and attempt"
            ) from error


def _context(label: bytes, sender: str, recipient: str) -> bytes:
    return join_fields(_DOMAIN, label, sender.encode(), recipient.encode())
