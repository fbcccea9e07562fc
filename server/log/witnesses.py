"""Which witnesses the hub asks, HUB/log/witnesses.json, and the policy that follows from it.

    {"quorum": 2, "witnesses": [{"name": "police", "keys": [...], "url": "", "authority": ""}]}

A witness without a URL is that of the partner of its name, asked over the partner's link. It
counts once, with whichever of its keys it signed; `quorum` of them must have signed before a
checkpoint is published. Verifiers go by the policy file of their own: this one is what the
hub asks of itself, and what it hands out for comparison.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.configuration import ConfigError, check_fields, read_object, typed
from compliance.files import write_atomically
from protocols.errors import MalformedMessageError
from protocols.link import check_party
from protocols.tlog.note import VerifierKey
from protocols.tlog.policy import Group, Log, Policy, Witness
from server.log.places import Asks, HttpPlace, Place, StandingPlace, check_url

_WHERE = "log/witnesses.json"
_FIELDS = {"name", "keys", "url", "authority"}
_QUORUM = "witnesses.quorum"  # no partner's name has a stop


@dataclass(frozen=True, slots=True)
class Listed:
    """One witness as it is listed.

    Args:
        url: where it is asked; empty for the partner's own link.
        authority: file with the certificates that sign its own; empty for the system's.
    """

    name: str
    keys: tuple[VerifierKey, ...]
    url: str = ""
    authority: str = ""

    def place(self, links: Asks, folder: Path) -> Place:
        """Return where it is asked; `authority` is a path in `folder`, or whole."""
        if not self.url:
            return StandingPlace(links, self.name)
        return HttpPlace(self.url, folder / self.authority if self.authority else None)


@dataclass(frozen=True, slots=True)
class Witnesses:
    """The contents of witnesses.json."""

    quorum: int
    listed: tuple[Listed, ...]

    @classmethod
    def load(cls, path: Path) -> Witnesses:
        """Read the file.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        value = read_object(path, cure="list the witnesses of the partners")
        check_fields(value, {"quorum", "witnesses"}, _WHERE)
        listed = tuple(_parse(item) for item in typed(value, "witnesses", list, _WHERE))
        found = cls(typed(value, "quorum", int, _WHERE), listed)
        found.policy(())
        return found

    @classmethod
    def load_any(cls, path: Path) -> Witnesses:
        """Read the file; nobody where there is none.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        return cls.load(path) if path.exists() else cls(0, ())

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        return json.dumps(self.fields(), indent=1).encode()

    def store(self, path: Path) -> None:
        """Replace the file; durable when this returns."""
        write_atomically(path, self.encode())

    def fields(self) -> dict[str, Any]:
        """Return what the file holds."""
        witnesses = [
            {
                "name": item.name,
                "keys": [key.format() for key in item.keys],
                "url": item.url,
                "authority": item.authority,
            }
            for item in self.listed
        ]
        return {"quorum": self.quorum, "witnesses": witnesses}

    def policy(self, logs: Sequence[VerifierKey]) -> Policy:
        """Return the policy by which checkpoints of these logs are published.

        Raises:
            ConfigError: it would not hold together.
        """
        if not 1 <= self.quorum <= len(self.listed):
            raise ConfigError(
                f"{_WHERE}: quorum must be 1 to {len(self.listed)}, the number of witnesses; "
                "correct it"
            )
        witnesses, groups = [], []
        for item in self.listed:
            members = {f"{item.name}.{at}": key for at, key in enumerate(item.keys, start=1)}
            witnesses += [Witness(name, key) for name, key in members.items()]
            groups.append(Group(item.name, 1, tuple(members)))
        names = tuple(item.name for item in self.listed)
        try:
            return Policy(
                tuple(Log(key) for key in logs),
                tuple(witnesses),
                (*groups, Group(_QUORUM, self.quorum, names)),
                _QUORUM,
            )
        except ValueError as error:
            raise ConfigError(f"{_WHERE}: {error}; correct it") from error


def _parse(value: object) -> Listed:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{_WHERE}: witnesses must be a list of objects; correct it")
    check_fields(value, _FIELDS, _WHERE)
    name, url = (typed(value, field, str, _WHERE) for field in ("name", "url"))
    keys = typed(value, "keys", list, _WHERE)
    if not keys or not all(isinstance(key, str) for key in keys):
        raise ConfigError(f"{_WHERE}: keys must be a list of texts, one or more; correct it")
    try:
        check_party(name)
        parsed = tuple(VerifierKey.parse(key) for key in keys)
    except MalformedMessageError as error:
        raise ConfigError(
            f"{_WHERE}: {error}; copy what `lianfang audit witness key` prints"
        ) from error
    return Listed(
        name, parsed, check_url(url) if url else "", typed(value, "authority", str, _WHERE)
    )
