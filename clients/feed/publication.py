"""What of the register stands in the table at the hub, and what is on its way there.

    published   signed header of the version in force, as this register believes
    pending     signed header of the version that is being sent, and its records
    adopted     set while the table in force was taken over from the hub and not made here

Each record keeps the revision that was published and its tag. A version is counted as
published in one transaction: its header, and the revision and tag of each of its records.
"""

from __future__ import annotations

from collections.abc import Iterable

from clients.feed.register import Register
from protocols.lookup.header import SignedHeader

# Identifier, slot, revision that was looked at, and the tag it has in the table afterwards.
Looked = tuple[int, int, int, bytes | None]

_PUBLISHED, _PENDING, _ADOPTED = "published", "pending", "adopted"


class Publication:
    """The part of one register that knows what was published."""

    def __init__(self, register: Register) -> None:
        self._register = register

    @property
    def published(self) -> SignedHeader | None:
        """Return the header of the version in force."""
        return self._header(_PUBLISHED)

    @property
    def pending(self) -> SignedHeader | None:
        """Return the header of the version that is being sent."""
        return self._header(_PENDING)

    @property
    def is_adopted(self) -> bool:
        """Whether the table in force has to be compared with every record here."""
        return self._register.meta(_ADOPTED) is not None

    def waiting(self) -> int:
        """Count the records that have changed since they were published."""
        (count,) = self._register.database.execute(
            "SELECT COUNT(*) FROM records WHERE revision > published"
        ).fetchone()
        return int(count)

    def begin_epoch(self, epoch: int) -> None:
        """Begin a new table if the last one, or the pending one, is of another epoch."""
        with self._register.transaction():
            known = (self.published, self.pending)
            if any(one is not None and one.header.epoch != epoch for one in known):
                self._forget()

    def adopt(self, header: SignedHeader | None) -> None:
        """Take over the table that the hub has, or none; every record is looked at again."""
        with self._register.transaction():
            self._forget()
            if header is not None:
                self._register.set_meta(_PUBLISHED, header.encode())
                self._register.set_meta(_ADOPTED, b"1")

    def set_pending(self, header: SignedHeader, looked: Iterable[Looked]) -> None:
        """Name the version that is about to be sent."""
        with self._register.transaction():
            self._register.database.execute("DELETE FROM pending")
            self._register.database.executemany("INSERT INTO pending VALUES (?, ?, ?, ?)", looked)
            self._register.set_meta(_PENDING, header.encode())

    def confirm(self, header: SignedHeader) -> None:
        """Count the pending version as published."""
        with self._register.transaction():
            self._register.database.execute(
                "UPDATE records SET published = p.revision, tag = p.tag FROM pending p"
                " WHERE p.identifier = records.identifier AND p.slot = records.slot"
            )
            self._register.database.execute("DELETE FROM pending")
            self._register.set_meta(_PUBLISHED, header.encode())
            self._register.set_meta(_PENDING, None)
            self._register.set_meta(_ADOPTED, None)

    def settle(self, looked: Iterable[Looked]) -> None:
        """Count records as published that say what the table says already."""
        with self._register.transaction():
            self._register.database.executemany(
                "UPDATE records SET published = ?3, tag = ?4 WHERE identifier = ?1 AND slot = ?2",
                looked,
            )
            self._register.set_meta(_ADOPTED, None)

    def _forget(self) -> None:
        self._register.database.execute("UPDATE records SET published = 0, tag = NULL")
        self._register.database.execute("DELETE FROM pending")
        for name in (_PUBLISHED, _PENDING, _ADOPTED):
            self._register.set_meta(name, None)

    def _header(self, name: str) -> SignedHeader | None:
        data = self._register.meta(name)
        return None if data is None else SignedHeader.decode(data)
