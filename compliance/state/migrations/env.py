"""What Alembic runs: the migrations, on the connection and in the transaction that it is given.

It is never run by itself: `compliance.state.migrating` holds the lock and the transaction.
"""

from __future__ import annotations

from alembic import context

from compliance.state.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite undoes a change of tables too, if the transaction was begun by us.
    transactional_ddl=True,
)
context.run_migrations()
