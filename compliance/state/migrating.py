"""Bringing a database to this version of the program, when it is opened.

A database says by `alembic_version` which migration ran last. The newest one is left alone,
and Alembic is not even loaded; an empty database gets its tables at once; an older one is
migrated. One process at a time does so, in one transaction: whoever fails, or is killed,
leaves the database as it was. A database of a later program is refused.

Programs from before Alembic counted in `tlog_schema`: what they left is adopted as the
migration with that number. The number is still kept, so that they refuse what they do not know.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, select

from compliance.configuration import ConfigError
from compliance.state.engine import translated, writing
from compliance.state.schema import LOG_SCHEMA, METADATA, VERSION

# In order; a released one is never changed. The numbers of `tlog_schema` go on with them.
REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]
_MIGRATIONS = Path(__file__).parent / "migrations"
# Set-up of PostgreSQL is serialised by an advisory lock under this number.
_LOCK = 0x6C69616E


def prepare(engine: Engine) -> None:
    """Make the tables of an empty database, or bring them up to this program.

    Raises:
        ConfigError: the database is of a later program.
    """
    with translated(), engine.connect() as connection:
        found = revision_of(connection)
    if found != HEAD:
        migrate(engine)


def migrate(engine: Engine, revision: str = HEAD) -> None:
    """Bring a database to a revision, up or down, in one transaction; run by one at a time.

    Going down loses what the older program has no place for, and is refused where something
    is there.

    Raises:
        ConfigError: the database is of a later program, or what it holds does not fit.
    """
    with translated(), writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        found = revision_of(connection)
        if found is None and revision == HEAD:
            _create(connection)
        elif found != revision:
            _adopt(connection, found)
            _run(connection, found, revision)


def revision_of(connection: Connection) -> str | None:
    """Return which migration ran last; None for an empty database.

    Raises:
        ConfigError: one that this program does not have.
    """
    tables = inspect(connection)
    if tables.has_table(VERSION.name):
        found = connection.execute(select(VERSION.c.version_num)).scalars().all()
        if not found:
            return None
        if len(found) == 1 and found[0] in REVISIONS:
            return str(found[0])
        raise _too_new(", ".join(sorted(found)))
    if not tables.has_table(LOG_SCHEMA.name):
        return None
    number = int(connection.execute(select(LOG_SCHEMA.c.version)).scalar_one())
    if number > len(REVISIONS):
        raise _too_new(str(number))
    return REVISIONS[number - 1]


def _too_new(found: str) -> ConfigError:
    return ConfigError(
        f"database: version {found}, this program knows up to {HEAD}; update the program, or "
        "restore the backup that was made before the database was migrated"
    )


def _create(connection: Connection) -> None:
    METADATA.create_all(connection)
    connection.execute(LOG_SCHEMA.insert().values(version=len(REVISIONS)))
    connection.execute(VERSION.insert().values(version_num=HEAD))


def _adopt(connection: Connection, found: str | None) -> None:
    VERSION.create(connection, checkfirst=True)
    if found is not None and connection.execute(select(VERSION)).first() is None:
        connection.execute(VERSION.insert().values(version_num=found))


def _run(connection: Connection, found: str | None, revision: str) -> None:
    # Loaded here alone: a database that needs no migration is opened without it.
    from alembic import command  # noqa: PLC0415  # see above
    from alembic.config import Config  # noqa: PLC0415  # see above

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    goes_up = found is None or REVISIONS.index(revision) > REVISIONS.index(found)
    (command.upgrade if goes_up else command.downgrade)(config, revision)
