"""The private part of an entry, and the commitment by which the public part binds it.

The private part never enters the log. Its owner keeps it encrypted, with its salt, under a
key that it can erase: what is left in the log then says nothing about anyone.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.jcs import decode_jcs, encode_jcs

SALT_SIZE = 32
KEY_SIZE = 32
PSEUDONYM_SIZE = 16
MAX_PRIVATE_TEXT = 2_000  # characters
MAX_DECISION = 8_000  # characters


@dataclass(frozen=True, slots=True)
class PrivatePart:
    """What an entry is about: it stays encrypted with the organisation that acts.

    Args:
        subject: how the owner finds the person again, such as its own token.
        case: the file that justifies the act.
        decision: the record of how the act was decided, to be decided again; empty if it
            was not decided by policies.
    """

    subject: str = field(repr=False)
    case: str = field(repr=False)
    reason: str = field(repr=False)
    decision: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if any(len(text) > MAX_PRIVATE_TEXT for text in (self.subject, self.case, self.reason)):
            raise ValueError(f"private part: a text of more than {MAX_PRIVATE_TEXT} characters")
        if len(self.decision) > MAX_DECISION:
            raise ValueError(f"private part: a decision of more than {MAX_DECISION} characters")

    def encode(self) -> bytes:
        """Write the private part; these bytes are committed to."""
        return encode_jcs(
            {
                "case": self.case,
                "decision": self.decision,
                "reason": self.reason,
                "subject": self.subject,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> PrivatePart:
        """Read a private part.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        value = decode_jcs(data, "private part")
        texts = value if isinstance(value, dict) else {}
        if texts.keys() != _TEXTS or not all(isinstance(text, str) for text in texts.values()):
            raise MalformedMessageError(f"private part: not {', '.join(sorted(_TEXTS))} as text")
        try:
            return cls(**texts)
        except ValueError as error:
            raise MalformedMessageError(f"{error}") from error


_TEXTS = frozenset(PrivatePart.__dataclass_fields__)


def draw_salt(random: Callable[[int], bytes]) -> bytes:
    """Draw the salt of one commitment; a salt is never used twice."""
    return random(SALT_SIZE)


def commit(private: bytes, salt: bytes) -> bytes:
    """Bind a private part.

    Privacy:
        Without the salt the commitment cannot be tested against guesses; whoever has both
        can. Erase the salt together with the private part.
    """
    if len(salt) != SALT_SIZE:
        raise ValueError(f"salt: {len(salt)} bytes, expected {SALT_SIZE}")
    return sha256(salt + private).digest()


def verify_commitment(commitment: bytes, private: bytes, salt: bytes) -> None:
    """Return only if the private part is the one that was committed to.

    Raises:
        InvalidProofError: it is another, or the salt is.
    """
    if len(salt) != SALT_SIZE or not hmac.compare_digest(commit(private, salt), commitment):
        raise InvalidProofError("private part: not what the entry commits to")


def pseudonym(key: bytes, account: str) -> bytes:
    """Return an organisation's pseudonym for one of its accounts (HMAC-SHA-256, 16 bytes).

    Args:
        key: 32 random bytes that the organisation alone has; a new key cuts the link.
    """
    if len(key) != KEY_SIZE:
        raise ValueError(f"pseudonym key: {len(key)} bytes, expected {KEY_SIZE}")
    return hmac.digest(key, account.encode(), "sha256")[:PSEUDONYM_SIZE]
