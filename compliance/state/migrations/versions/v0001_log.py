"""The log: entries, tiles, private parts and their keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "tlog",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("origin", sa.Text, nullable=False, unique=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.Column("minimum", sa.BigInteger, nullable=False),
        sa.Column("checkpoint", sa.LargeBinary),
    )
    op.create_table(
        "tlog_entry",
        sa.Column("log", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "tlog_tile",
        sa.Column("log", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "tlog_part",
        sa.Column("log", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("commitment", sa.LargeBinary),
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("case_tag", sa.LargeBinary),
        sa.Column("subject_tag", sa.LargeBinary),
        sa.Column("erased_at", sa.BigInteger),
    )
    op.create_table(
        "tlog_part_key",
        sa.Column("log", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
    )
    op.create_index("tlog_part_case", "tlog_part", ["case_tag"])
    op.create_index("tlog_part_subject", "tlog_part", ["subject_tag"])
    op.create_table("tlog_schema", sa.Column("version", sa.Integer, nullable=False))
    op.execute("INSERT INTO tlog_schema (version) VALUES (1)")
