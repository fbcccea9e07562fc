"""Journals and documents beside the log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from compliance.configuration import ConfigError

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "state_journal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "state_record",
        sa.Column("journal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "state_folder",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "state_document",
        sa.Column("folder", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.execute("UPDATE tlog_schema SET version = 3")


def downgrade() -> None:
    """Drop the tables, if nothing is in them.

    Raises:
        ConfigError: they hold what the older program would lose.
    """
    for table in ("state_record", "state_document"):
        if op.get_bind().execute(sa.text(f"SELECT 1 FROM {table} LIMIT 1")).first():  # noqa: S608  # constants alone
            raise ConfigError(
                f"database: {table} is not empty, and revision 0002 has no place for it; restore "
                "the backup that was made before the database was migrated"
            )
    for table in ("state_document", "state_folder", "state_record", "state_journal"):
        op.drop_table(table)
    op.execute("UPDATE tlog_schema SET version = 2")
