"""What the holders agree on before they make a key or refresh its shares."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha512

from protocols.codec import Writer
from protocols.errors import UnsupportedParameterError
from protocols.oprf.records import KeyRecord
from protocols.oprf.shares import require_threshold

SESSION_SIZE = 16


@dataclass(frozen=True, slots=True)
class Setup:
    """One agreement; a message of any other agreement is refused.

    `session` is 16 bytes never used before. `previous` is the record whose shares are to
    be refreshed, or None for a new key.
    """

    epoch: int
    threshold: int
    holders: tuple[str, ...]
    session: bytes
    previous: KeyRecord | None = None

    def __post_init__(self) -> None:
        require_threshold(self.threshold, len(self.holders))
        if len(set(self.holders)) != len(self.holders):
            raise UnsupportedParameterError("set-up: two holders of one name")
        if len(self.session) != SESSION_SIZE:
            raise UnsupportedParameterError(
                f"session: {len(self.session)} bytes, need {SESSION_SIZE}"
            )

    @property
    def context(self) -> bytes:
        """Hash the agreement; every message of the set-up depends on it."""
        out = Writer().u64(self.epoch).u8(self.threshold).u8(len(self.holders)).block(self.session)
        for name in self.holders:
            out.text(name)
        out.block(self.previous.key_id if self.previous else b"")
        return sha512(b"lianfang/oprf/set-up/v1" + out.encode()).digest()


def next_epoch(record: KeyRecord, session: bytes) -> Setup:
    """Return the agreement for a new key in the epoch after `record`, with its holders."""
    return Setup(record.epoch + 1, record.threshold, record.holders, session)


def refresh_of(record: KeyRecord, session: bytes) -> Setup:
    """Return the agreement for new shares of the same key."""
    return Setup(record.epoch, record.threshold, record.holders, session, record)
