"""Which entry of the log names which public document."""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_LOGS = sa.table("tlog", sa.column("id"), sa.column("size"))
_ENTRIES = sa.table("tlog_entry", sa.column("log"), sa.column("place"), sa.column("data"))
_DOCUMENTS = sa.table(
    "tlog_document",
    sa.column("log", sa.Integer),
    sa.column("place", sa.BigInteger),
    sa.column("digest", sa.LargeBinary),
)
# In canonical JSON no text holds an unescaped quotation mark: there is one such place at most.
_NAMED = re.compile(rb'"document":"([0-9a-f]{64})"')
_AT_ONCE = 4_096


def upgrade() -> None:
    """Add the documents, and those of the entries that are there."""
    op.create_table(
        "tlog_document",
        sa.Column("log", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
    )
    op.create_index("tlog_document_digest", "tlog_document", ["digest"])
    for log, size in op.get_bind().execute(sa.select(_LOGS.c.id, _LOGS.c.size)).all():
        for start in range(0, size, _AT_ONCE):
            _add_documents(log, start)
    op.execute("UPDATE tlog_schema SET version = 2")


def downgrade() -> None:
    """Drop what the entries say themselves."""
    op.drop_table("tlog_document")
    op.execute("UPDATE tlog_schema SET version = 1")


def _add_documents(log: int, start: int) -> None:
    place = _ENTRIES.c.place
    here = (_ENTRIES.c.log == log) & (place >= start) & (place < start + _AT_ONCE)
    rows = op.get_bind().execute(sa.select(place, _ENTRIES.c.data).where(here)).all()
    named = [
        {"log": log, "place": at, "digest": bytes.fromhex(found[1].decode())}
        for at, data in rows
        if (found := _NAMED.search(bytes(data))) is not None
    ]
    if named:
        op.bulk_insert(_DOCUMENTS, named)
