"""Invitations and the requests that came by them: HUB/enrolment.

    <number>.json           whom it invites, hash of the secret, when it ends
    <number>.request.json   the join request that came by it
    <number>.welcome.json   what the hub answered, once two people had decided

An invitation counts once: the request is put into place by a link that fails where one is, so
of two processes or threads one is first. A file that is there is whole. The number, 128 random
bits, tells nothing; the secret is nowhere.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compliance.configuration import ConfigError, check_fields, read_object, typed
from compliance.files import FILE_MODE, write_atomically
from protocols.enrolment.words import hash_secret

FOLDER = "enrolment"
NUMBER = r"[0-9a-f]{32}"
_NUMBER = re.compile(NUMBER)
_INVITATION = re.compile(NUMBER + r"\.json")
_FIELDS = {"name", "secret_hash", "made_at", "ends_at"}


@dataclass(frozen=True, slots=True)
class Invitation:
    """One invitation as the hub keeps it.

    Args:
        name: of the partner that is invited.
        made_at, ends_at: Unix seconds; a request is taken before `ends_at`.
    """

    number: str
    name: str
    secret_hash: str
    made_at: int
    ends_at: int


class Invitations:
    """All invitations of a hub; any number of threads and processes.

    Args:
        root: the hub's directory.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def make(self, name: str, secret: bytes, *, now: int, lasts_s: int) -> Invitation:
        """Keep a new invitation; durable when this returns."""
        made = Invitation(
            secrets.token_hex(16), name, hash_secret(secret).hex(), now, now + lasts_s
        )
        fields = {key: value for key, value in asdict(made).items() if key != "number"}
        write_atomically(self._path(made.number), _encode(fields))
        return made

    def find(self, secret: bytes) -> Invitation | None:
        """Return the invitation with this secret, whether it still counts or not.

        Every one is compared, each in constant time: how long it takes tells nothing of how
        near a guess came.
        """
        wanted = hash_secret(secret).hex()
        found = None
        for invitation in self.all():
            if hmac.compare_digest(invitation.secret_hash, wanted):
                found = invitation
        return found

    def all(self) -> list[Invitation]:
        """Return every invitation, the oldest first."""
        paths = [path for path in self._files() if _INVITATION.fullmatch(path.name)]
        return sorted(map(_load, paths), key=lambda item: (item.made_at, item.number))

    def take(self, number: str, request: dict[str, Any]) -> bool:
        """Keep the request that came by an invitation; False if another one was first."""
        draft = self._folder / f".{number}.{secrets.token_hex(8)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_encode(request))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, self._path(number, "request"))
            except FileExistsError:
                return False
        finally:
            draft.unlink(missing_ok=True)
        _sync(self._folder)
        return True

    def request(self, number: str) -> dict[str, Any] | None:
        """Return the request that came by an invitation, or None."""
        return self._object(number, "request")

    def welcome(self, number: str) -> dict[str, Any] | None:
        """Return the hub's answer, or None while there is none."""
        return self._object(number, "welcome")

    def answer(self, number: str, welcome: dict[str, Any]) -> None:
        """Keep the answer for the partner to fetch."""
        write_atomically(self._path(number, "welcome"), _encode(welcome))

    def waiting(self) -> dict[str, str]:
        """Return the numbers of requests that nobody has answered, by name."""
        return {
            item.name: item.number
            for item in self.all()
            if self._path(item.number, "request").exists()
            and not self._path(item.number, "welcome").exists()
        }

    def _object(self, number: str, kind: str) -> dict[str, Any] | None:
        # The number comes from outside: only one that is well formed leads to a file.
        if not _NUMBER.fullmatch(number):
            return None
        path = self._path(number, kind)
        return read_object(path) if path.exists() else None

    def _path(self, number: str, kind: str = "") -> Path:
        return self._folder / (f"{number}.{kind}.json" if kind else f"{number}.json")

    def _files(self) -> Iterator[Path]:
        return iter(self._folder.iterdir() if self._folder.is_dir() else ())


def _load(path: Path) -> Invitation:
    where = f"{FOLDER}/{path.name}"
    value = read_object(path)
    check_fields(value, _FIELDS, where)
    try:
        return Invitation(
            path.name.removesuffix(".json"),
            typed(value, "name", str, where),
            typed(value, "secret_hash", str, where),
            typed(value, "made_at", int, where),
            typed(value, "ends_at", int, where),
        )
    except ConfigError as error:
        raise ConfigError(f"{error}, or remove the file") from error


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
