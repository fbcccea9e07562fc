"""What `lianfang-hub doctor` looks at in the PostgreSQL server that keeps the hub's log.

One connection reads the server's settings and our rights; nothing is created and nothing is
written. What is told are settings, versions and names of tables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from compliance.checkup import Check
from compliance.configuration import ConfigError
from compliance.doctor.records import revision_seen
from compliance.doctor.seen import Seen
from compliance.state.migrating import revision_of
from compliance.state.schema import METADATA
from server.database import address_of, passfile_of

OLDEST = 130_000  # PostgreSQL 13, as the server counts
_OTHERS = 0o077
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
# With any of these off a confirmed entry may be gone, or torn, after a power cut.
_DURABLE = ("fsync", "full_page_writes")
_OFF = "off"
_REACHED = "the database is reached"
_REACH = "start the server; correct host, user and password file of `database` in hub.json"


@dataclass(frozen=True, slots=True)
class Found:
    """What one connection found.

    Args:
        version: as the server counts: 150018 is 15.18.
        settings: of the server, by name.
        recovering: it follows another server and takes no writes.
        lacking: tables that we may not use; `creating`, whether we may make some.
        protected: the connection is encrypted, or does not leave this machine.
    """

    version: int
    encoding: str
    settings: Mapping[str, str]
    recovering: bool
    missing: tuple[str, ...]
    lacking: tuple[str, ...]
    creating: bool
    protected: bool


def database_checks(setting: str, *, environment: Mapping[str, str] | None = None) -> list[Check]:
    """Return the checks of a server that hub.json names; none without one.

    Where the server is not reached there is that one check, which says so.
    """
    if not setting:
        return []
    try:
        found = examine_database(setting, os.environ if environment is None else environment)
    except ConfigError as error:
        return [(_REACHED, partial(_fail, error), _REACH)]
    return [
        (_REACHED, lambda: True, _REACH),
        (
            "the database is PostgreSQL 13 or later, in UTF-8",
            lambda: found.version >= OLDEST and found.encoding == "UTF8",
            "take a later server, or make the database with ENCODING 'UTF8'",
        ),
        (
            "the database loses no confirmed write",
            lambda: _is_durable(found),
            "switch fsync, full_page_writes and synchronous_commit on in postgresql.conf",
        ),
        (
            "the database takes writes",
            lambda: not found.recovering,
            "name the primary server, not one that follows it",
        ),
        (
            "the database's tables are ours to use",
            lambda: _is_ours(found),
            f"GRANT {', '.join(_RIGHTS)} on them and CREATE on their schema to the setting's user",
        ),
        (
            "the connection to the database is encrypted",
            lambda: found.protected,
            "add sslmode=verify-full and sslrootcert to the setting",
        ),
        (
            "the password file is closed to others",
            lambda: _is_closed(passfile_of(setting)),
            "run chmod 600 on the file that passfile names",
        ),
    ]


def examine_database(setting: str, environment: Mapping[str, str]) -> Found:
    """Look at a server by one connection.

    Raises:
        ConfigError: the setting is wrong, or the server is not reached; says why.
    """
    engine = create_engine(
        make_url(address_of(setting, environment)).set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        hide_parameters=True,
    )
    try:
        with engine.connect() as connection:
            return _look(connection)
    except DBAPIError as error:
        # The last line is the server's own word, such as that the user is not known to it.
        said = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        raise ConfigError(f"database: {said[-1].strip()}") from None
    except SQLAlchemyError as error:
        raise ConfigError(f"database: {type(error).__name__}") from None
    finally:
        engine.dispose()


def database_revision(setting: str, *, environment: Mapping[str, str] | None = None) -> Seen:
    """Whether the tables of a server are of this version; nothing is made or brought up to date.

    Raises:
        ConfigError: the server is not reached, or its tables are of a later program.
    """
    address = address_of(setting, os.environ if environment is None else environment)
    engine = create_engine(
        make_url(address).set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        hide_parameters=True,
    )
    try:
        with engine.connect() as connection:
            return revision_seen(revision_of(connection))
    except SQLAlchemyError as error:
        raise ConfigError(f"database: {type(error).__name__}") from None
    finally:
        engine.dispose()


def _look(connection: Connection) -> Found:
    run = connection.exec_driver_sql
    names = sorted(METADATA.tables)
    there = {name for name in names if run("SELECT to_regclass(%s)", (name,)).scalar_one()}
    wanted = (*_DURABLE, "synchronous_commit")
    rights = "SELECT bool_and(has_table_privilege(%s, one)) FROM unnest(%s::text[]) AS one"
    schema = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
    return Found(
        version=int(run("SHOW server_version_num").scalar_one()),
        encoding=run("SHOW server_encoding").scalar_one(),
        settings={name: run(f"SHOW {name}").scalar_one() for name in wanted},
        recovering=run("SELECT pg_is_in_recovery()").scalar_one(),
        missing=tuple(name for name in names if name not in there),
        lacking=tuple(
            sorted(name for name in there if not run(rights, (name, list(_RIGHTS))).scalar_one())
        ),
        creating=run(schema).scalar_one(),
        protected=_is_protected(connection),
    )


def _is_protected(connection: Connection) -> bool:
    """Whether nobody on the way reads along: TLS, a socket file, or this machine alone."""
    raw = connection.connection.driver_connection
    if raw is None:
        return False
    host = raw.info.hostaddr or raw.info.host
    if raw.pgconn.ssl_in_use or not host or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_durable(found: Found) -> bool:
    off = [name for name, value in found.settings.items() if value == _OFF]
    if off:
        raise ConfigError(f"database: {', '.join(off)} is off")
    return True


def _is_ours(found: Found) -> bool:
    if found.lacking:
        raise ConfigError(
            f"database: not all of {', '.join(_RIGHTS)} on {', '.join(found.lacking)}"
        )
    if found.missing and not found.creating:
        raise ConfigError(f"database: {found.missing[0]} is not there and cannot be made")
    return True


def _is_closed(passfile: str) -> bool:
    # libpq passes over a file that others may read, and the password is missing then.
    return not passfile or not Path(passfile).stat().st_mode & _OTHERS


def _fail(error: ConfigError) -> bool:
    raise error
