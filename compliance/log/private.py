"""Private parts: who and why, encrypted with the organisation that acts, erasable for ever.

    sealed = ChaCha20-Poly1305(part key; salt || length (u32) || part || zeros)
    key    = ChaCha20-Poly1305(master key; part key)        both with the commitment as
                                                            associated data
    tags   = HMAC-SHA-256(index key; "case" or "subject" || 0 || text)

Every part has a key of its own. One key for a case would be simpler, but to erase one person
of the case would then erase all, and a process that remembers the key could bring it back by
sealing again after the erasure. Erasing a case, or a person, destroys the keys of all parts
with that tag, then the parts and the tags. The entry and all its proofs stay valid and say
nothing: the salt was in the part.

The master key and the index key stand outside the storage: with its disk alone nothing can
be read, and no tag can be tested against guesses.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from compliance.errors import LogCorruptError
from compliance.log.errors import PartErasedError, UnknownPartError
from compliance.log.storage import Erasure, Place, SealedPart, Storage
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.private import (
    KEY_SIZE,
    SALT_SIZE,
    PrivatePart,
    commit,
    draw_salt,
    verify_commitment,
)

NONCE_SIZE = 12
PAD_SIZE = 256  # lengths of names and reasons are hidden within these steps


class PrivateParts:
    """Seals, reads, finds and erases the private parts of one organisation.

    Args:
        master_key, index_key: 32 random bytes each, kept outside the storage.
        random: `os.urandom` in production.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        master_key: bytes,
        index_key: bytes,
        random: Callable[[int], bytes],
    ) -> None:
        if len(master_key) != KEY_SIZE or len(index_key) != KEY_SIZE:
            raise ValueError(f"private parts: a key is not of {KEY_SIZE} bytes")
        self._storage = storage
        self._master = ChaCha20Poly1305(master_key)
        self._index_key = index_key
        self._random = random

    def seal(self, part: PrivatePart) -> SealedPart:
        """Encrypt a part; its commitment goes into the entry, both go to `Log.append`."""
        salt, key = draw_salt(self._random), self._random(KEY_SIZE)
        data = part.encode()
        commitment = commit(data, salt)
        plain = salt + len(data).to_bytes(4, "big") + data
        # The key seals this one text, so its nonce may be constant.
        sealed = ChaCha20Poly1305(key).encrypt(bytes(NONCE_SIZE), _pad(plain), commitment)
        nonce = self._random(NONCE_SIZE)
        return SealedPart(
            commitment=commitment,
            sealed=sealed,
            key=nonce + self._master.encrypt(nonce, key, commitment),
            case_tag=self._tag("case", part.case),
            subject_tag=self._tag("subject", part.subject),
        )

    def read(self, place: Place, commitment: bytes) -> PrivatePart:
        """Return the private part of an entry, checked against the entry's commitment.

        Raises:
            PartErasedError: it was erased.
            UnknownPartError: none of this entry is kept here.
            LogCorruptError: what is kept is not what the entry commits to.
        """
        match self._storage.part(place):
            case None:
                raise UnknownPartError(f"entry {place.index}: no private part is kept here")
            case Erasure(at):
                raise PartErasedError(f"entry {place.index}: the private part was erased at {at}")
            case SealedPart() as stored:
                return self._open(stored, commitment)

    def find_case(self, case: str) -> list[Place]:
        """Return the entries with a private part of this case."""
        return self._storage.find_parts(self._tag("case", case))

    def find_subject(self, subject: str) -> list[Place]:
        """Return the entries with a private part about this subject."""
        return self._storage.find_parts(self._tag("subject", subject))

    def erase_case(self, case: str, now: int) -> list[Place]:
        """Erase all parts of a case; the caller logs that it did, without saying of what."""
        return self._storage.erase_parts(self._tag("case", case), now)

    def erase_subject(self, subject: str, now: int) -> list[Place]:
        """Erase all parts about a subject; the caller logs that it did, without saying whom."""
        return self._storage.erase_parts(self._tag("subject", subject), now)

    def _open(self, stored: SealedPart, commitment: bytes) -> PrivatePart:
        nonce, wrapped = stored.key[:NONCE_SIZE], stored.key[NONCE_SIZE:]
        try:
            key = self._master.decrypt(nonce, wrapped, commitment)
            plain = ChaCha20Poly1305(key).decrypt(bytes(NONCE_SIZE), stored.sealed, commitment)
            salt, length = plain[:SALT_SIZE], plain[SALT_SIZE : SALT_SIZE + 4]
            start = SALT_SIZE + 4
            data = plain[start : start + int.from_bytes(length, "big")]
            verify_commitment(commitment, data, salt)
            return PrivatePart.decode(data)
        except (InvalidTag, InvalidProofError, MalformedMessageError, ValueError) as error:
            raise LogCorruptError("private part: not what the entry commits to") from error

    def _tag(self, kind: str, text: str) -> bytes:
        return hmac.digest(self._index_key, f"{kind}\0{text}".encode(), "sha256")


def _pad(plain: bytes) -> bytes:
    return plain + bytes(-len(plain) % PAD_SIZE)
