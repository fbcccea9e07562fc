"""Reading a holder's book beside whoever writes it: a file at a node, a journal at a hub.

Of a hub this reads the embedded database alone; one that keeps its state in PostgreSQL is
asked by its own commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from compliance.evaluations.book import BOOK, EvaluationBook
from compliance.state.database import open_state

JOURNAL: Final = "holder/book"  # at a hub, in its database
STATE: Final = "state.sqlite"


@contextmanager
def read_book(owner: Path) -> Iterator[EvaluationBook]:
    """Give the book in the directory of a node or a hub, for the time of the block."""
    if not (owner / STATE).exists():
        book = EvaluationBook(owner / "holder" / BOOK)
        try:
            yield book
        finally:
            book.close()
        return
    with open_state(owner / STATE) as database:
        book = EvaluationBook(partial(database.journal, JOURNAL))
        yield book
        book.close()
