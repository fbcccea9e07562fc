"""What every journal gives: records that several processes append, one after the other.

`compliance.journal.Journal` keeps them in a file, `compliance.state.journal.DatabaseJournal` in
a database. Whoever keeps what it learned from records in memory follows this form:

    with journal.exclusive() as records:
        apply(records)          all that others have appended meanwhile
        decide
        journal.append(record)  raises: nothing is applied
        apply([record])

Durability: `append` returns when the record is durable, or, within a transaction of a
database, the transaction does when its outermost block ends. Order: every process reads the
same records in the same order. Failure: after an `append` that raised it is open whether the
record is there; a file's journal then refuses further work, a database's gives the record with
those not seen yet, if it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol


class Records(Protocol):
    """A journal, wherever it lies; for any number of threads and processes."""

    def exclusive(self) -> AbstractContextManager[list[bytes]]:
        """Hold the journal alone; gives the records that this object has not given yet.

        Raises:
            LogCorruptError: the journal is damaged; nothing may be appended any more.
        """
        ...

    def append(self, record: bytes) -> None:
        """Write a record; only inside `exclusive`, after its records were read.

        Raises:
            ValueError: it is empty or longer than 1 MiB.
        """
        ...

    def append_all(self, records: Sequence[bytes]) -> None:
        """Write records in this order, durable together on return; as `append`.

        A journal that fails meanwhile may hold the first of them without the others.
        """
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...
