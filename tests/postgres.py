"""A real PostgreSQL server for tests: a plugin, loaded by `pytest_plugins` or by its name.

It lies in a directory of its own, listens on a socket there and nowhere else, and is gone
with the test session. Without the server's programs the tests that ask for it are skipped.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine

POSTGRES = Path("/usr/lib/postgresql/15/bin")
OWNER = "lianfang"


@dataclass
class Postgres:
    """One running server; call it for the address of a fresh, empty schema."""

    folder: Path
    user: str | None
    numbers: count = field(default_factory=count)

    def __call__(self):
        name = f"log{next(self.numbers)}"
        self.run(f"CREATE SCHEMA {name}")
        return f"{self.address}&options=-csearch_path%3D{name}"

    @property
    def address(self):
        """The address of the database, as its owner."""
        return f"postgresql://{OWNER}@/postgres?host={self.folder}"

    def run(self, *statements, address=None):
        """Run statements as the owner, each in its own transaction; return the last one's rows."""
        url = (address or self.address).replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                for statement in statements:
                    result = connection.exec_driver_sql(statement)
                return result.all() if result.returns_rows else []
        finally:
            engine.dispose()

    def files(self):
        """Every file of the server: tables, write-ahead log, its own log."""
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def control(self, *arguments, **options):
        """Run pg_ctl."""
        command = [POSTGRES / "pg_ctl", "-D", self.folder / "data", "-w", *arguments]
        # Its output must not be a pipe: the server inherits it and never closes it.
        subprocess.run(
            command, check=True, user=self.user, cwd=self.folder, stdout=subprocess.DEVNULL
        )

    def start(self, *, fsync="on"):
        options = f"-c listen_addresses='' -k {self.folder} -c shared_buffers=32MB -c fsync={fsync}"
        self.control("-l", self.folder / "log", "-o", options, "start")

    def stop(self):
        self.control("-m", "immediate", "stop")


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server on a socket of its own; called, it makes addresses."""
    if not (POSTGRES / "initdb").exists():
        pytest.skip("no PostgreSQL 15 installed (the package postgresql-15)")
    user = None
    folder = Path(tempfile.mkdtemp(prefix="lf-pg-"))
    if os.getuid() == 0:  # the server refuses to run as root
        names = {item.pw_name for item in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    command = ["initdb", "--no-sync", "-U", OWNER, "-E", "UTF8", "-A", "trust"]
    subprocess.run(
        [POSTGRES / command[0], *command[1:], "-D", folder / "data"],
        check=True, capture_output=True, user=user, cwd=folder,
    )  # fmt: skip
    # Over the socket, whoever is not the owner types a password.
    rules = f"local all {OWNER} trust\nlocal all all scram-sha-256\n"
    (folder / "data" / "pg_hba.conf").write_text(rules)
    made = Postgres(folder, user)
    made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)
