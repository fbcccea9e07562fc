"""The migrations of a database, run by Alembic through `compliance.state.migrating`."""
