"""The setting `database` of hub.json: a PostgreSQL server that keeps the hub's log.

    postgresql+psycopg://user@host:5432/name?sslmode=verify-full&passfile=/etc/lianfang/pgpass
    postgresql+psycopg:///?service=lianfang&password_env=LIANFANG_DATABASE_PASSWORD

Everything behind the question mark is a connection parameter of libpq, but `password_env`: it
names the environment variable that holds the password. A password never stands in hub.json,
on a command line or in a message, and no message repeats an address that was refused: it may
hold one. Without `password_env` libpq finds the password by itself, in `passfile`, PGPASSFILE,
the service file or ~/.pgpass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from compliance.configuration import ConfigError

DRIVERS = ("postgresql+psycopg", "postgresql")
PASSWORD_ENV = "password_env"  # noqa: S105  # the name of a parameter, not a password
CONNECT_TIMEOUT_S = 10
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SECRETS = ("password", "sslpassword")
_FORM = "write postgresql+psycopg://USER@HOST:PORT/NAME?passfile=FILE"


def check_database(setting: str) -> None:
    """Refuse a setting that is no address, or that holds a password.

    Raises:
        ConfigError: names the rule and the cure, and nothing of the setting.
    """
    if setting:
        _parse(setting)


def address_of(setting: str, environment: Mapping[str, str]) -> str:
    """Return the address to connect to, with the password where a variable holds it.

    Privacy:
        The result may hold the password: it goes to the driver and nowhere else.

    Raises:
        ConfigError: the setting is wrong, or the variable that it names is not set.
    """
    url = _parse(setting)
    variable = url.query.get(PASSWORD_ENV)
    url = url.difference_update_query([PASSWORD_ENV])
    if isinstance(variable, str):
        password = environment.get(variable, "")
        if not password:
            raise ConfigError(
                f"database: the environment variable {variable} is not set; set it for this "
                f"program, or use passfile in place of {PASSWORD_ENV}"
            )
        url = url.set(password=password)
    if "connect_timeout" not in url.query:
        # By itself libpq waits for ever for a server that does not answer.
        url = url.update_query_dict({"connect_timeout": str(CONNECT_TIMEOUT_S)})
    return url.render_as_string(hide_password=False)


def passfile_of(setting: str) -> str:
    """Return the password file that the setting names, or nothing."""
    found = _parse(setting).query.get("passfile", "")
    return found if isinstance(found, str) else ""


def _parse(setting: str) -> URL:
    try:
        url = make_url(setting)
    except (ArgumentError, ValueError):
        # Not `from error`: its text repeats the address.
        raise ConfigError(f"database: not an address; {_FORM}") from None
    if url.drivername not in DRIVERS:
        raise ConfigError(f"database: not PostgreSQL; {_FORM}, or leave it empty for SQLite")
    if url.password is not None or any(name in url.query for name in _SECRETS):
        raise ConfigError(
            "database: holds a password; take it out, choose another password, and name a "
            f"passfile, a service or {PASSWORD_ENV} in its place"
        )
    _check_parameters(url)
    return url


def _check_parameters(url: URL) -> None:
    query = dict(url.query)
    variable = query.pop(PASSWORD_ENV, "A")
    if not isinstance(variable, str) or not _VARIABLE.fullmatch(variable):
        raise ConfigError(f"database: {PASSWORD_ENV} must be the name of one variable; correct it")
    texts = {name: value for name, value in query.items() if isinstance(value, str)}
    if len(texts) != len(query):
        raise ConfigError("database: a parameter stands there twice; take one out")
    try:
        make_conninfo("", **texts)
    except psycopg.Error:
        raise ConfigError(
            "database: a parameter behind the question mark is unknown to libpq; correct its name"
        ) from None
    if not PurePath(texts.get("passfile", "/")).is_absolute():
        # The directory that the hub is started in is not the operator's.
        raise ConfigError("database: passfile must be an absolute path; correct it")
