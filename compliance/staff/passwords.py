"""Passwords: kept as Argon2id with their parameters, compared in constant time.

Source:
    RFC 9106 (Argon2), section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
    NIST SP 800-63B-4, section 3.1.1: normalise, no composition rules, length counts.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from compliance.agreement.fields import Fields, defect

SALT_SIZE = 16
TAG_SIZE = 32
MIN_PASSWORD, MAX_PASSWORD = 12, 256
MIN_DISTINCT = 5
KIND = "argon2id"
# A damaged file must not make a login take all memory or all day.
_MAX_MEMORY_KIB, _MAX_PASSES, _MAX_LANES, _KIB_PER_LANE = 1 << 20, 16, 16, 8


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess costs.

    Args:
        memory_kib: at least 8 for each lane.
    """

    memory_kib: int = 65_536
    passes: int = 3
    lanes: int = 4


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A password as it is kept."""

    cost: Cost
    salt: bytes = field(repr=False)
    tag: bytes = field(repr=False)

    @classmethod
    def of(cls, password: str, cost: Cost, random: Callable[[int], bytes]) -> PasswordHash:
        """Hash a password that `check_new_password` has let through."""
        salt = random(SALT_SIZE)
        return cls(cost, salt, _derive(password, salt, cost))

    @classmethod
    def of_nobody(cls, cost: Cost) -> PasswordHash:
        """Return what no password opens, to be tried where there is no account."""
        return cls(cost, bytes(SALT_SIZE), bytes(TAG_SIZE))

    def matches(self, password: str) -> bool:
        """Report whether this is the password; takes the same time whether it is or not."""
        return hmac.compare_digest(_derive(password, self.salt, self.cost), self.tag)

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": KIND,
            "memory_kib": self.cost.memory_kib,
            "passes": self.cost.passes,
            "lanes": self.cost.lanes,
            "salt": self.salt.hex(),
            "tag": self.tag.hex(),
        }

    @classmethod
    def parse(cls, value: object, path: str) -> PasswordHash:
        """Read the JSON form.

        Raises:
            MalformedMessageError: it is none, or of a cost that nobody would choose.
        """
        names = {"kind", "memory_kib", "passes", "lanes", "salt", "tag"}
        fields = Fields.of(value, names, path)
        if fields.values["kind"] != KIND:
            raise defect(fields.at("kind"), f"must be {KIND}", "restore the file")
        lanes = fields.whole("lanes", least=1, most=_MAX_LANES)
        cost = Cost(
            fields.whole("memory_kib", least=_KIB_PER_LANE * lanes, most=_MAX_MEMORY_KIB),
            fields.whole("passes", least=1, most=_MAX_PASSES),
            lanes,
        )
        return cls(cost, fields.digest("salt", SALT_SIZE), fields.digest("tag", TAG_SIZE))


def check_new_password(password: str, *, account: str) -> None:
    """Refuse a password that is guessed at once; one that is kept is never checked again.

    Raises:
        MalformedMessageError: names the rule, never the password.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise defect(
            "password", f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters", "choose another"
        )
    if len(set(password)) < MIN_DISTINCT:
        raise defect("password", f"must have {MIN_DISTINCT} different characters", "choose another")
    if account in password.lower() and len(password) < MIN_PASSWORD + len(account):
        raise defect("password", "is little more than the account's name", "choose another")


def _derive(password: str, salt: bytes, cost: Cost) -> bytes:
    # The same characters may be typed in several encodings, depending on the keyboard. A lone
    # surrogate, which a broken terminal may hand over, is hashed like any other character.
    typed = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    kdf = Argon2id(
        salt=salt,
        length=TAG_SIZE,
        iterations=cost.passes,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
    return kdf.derive(typed)
