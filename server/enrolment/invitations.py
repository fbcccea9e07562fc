"""Invitations and the requests that came by them, as the hub keeps them (`enrolment`).

    <number>.json           whom it invites, hash of the secret, when it ends
    <number>.request.json   the join request that came by it
    <number>.welcome.json   what the hub answered, once two people had decided

An invitation counts once: the request is kept only where there is none, so of two processes or
threads one is first. The number, 128 random bits, tells nothing; the secret is nowhere.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compliance.configuration import check_fields, typed
from protocols.enrolment.words import hash_secret
from server.keeping.partners import parse_object
from server.keeping.place import keeping_of
from server.keeping.shelves import DocumentShelf

FOLDER = "enrolment"
# The member of an answer that holds why a request was turned down, in place of a welcome.
REJECTED = "rejected"
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
        self._root = root

    def make(self, name: str, secret: bytes, *, now: int, lasts_s: int) -> Invitation:
        """Keep a new invitation; durable when this returns."""
        made = Invitation(
            secrets.token_hex(16), name, hash_secret(secret).hex(), now, now + lasts_s
        )
        fields = {key: value for key, value in asdict(made).items() if key != "number"}
        self._shelf.put(_name(made.number), _encode(fields))
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
        _, kept = self._shelf.state()
        found = [_load(name, kept[name]) for name in kept if _INVITATION.fullmatch(name)]
        return sorted(found, key=lambda item: (item.made_at, item.number))

    def take(self, number: str, request: dict[str, Any]) -> bool:
        """Keep the request that came by an invitation; False if another one was first."""
        return self._shelf.put_new(_name(number, "request"), _encode(request))

    def end_open(self) -> list[str]:
        """Remove the invitations by which no request came; return whom they invited.

        In a hub that was put back from a backup they may have been used since.
        """
        _, kept = self._shelf.state()
        found = [item for item in self.all() if _name(item.number, "request") not in kept]
        for item in found:
            keeping_of(self._root).documents(FOLDER).delete(_name(item.number))
        return sorted(item.name for item in found)

    def request(self, number: str) -> dict[str, Any] | None:
        """Return the request that came by an invitation, or None."""
        return self._object(number, "request")

    def welcome(self, number: str) -> dict[str, Any] | None:
        """Return the hub's answer, or None while there is none."""
        return self._object(number, "welcome")

    def answer(self, number: str, welcome: dict[str, Any]) -> None:
        """Keep the answer for the partner to fetch."""
        self._shelf.put(_name(number, "welcome"), _encode(welcome))

    def waiting(self) -> dict[str, str]:
        """Return the numbers of requests that nobody has answered, by name."""
        _, kept = self._shelf.state()
        return {
            item.name: item.number
            for item in self.all()
            if _name(item.number, "request") in kept and _name(item.number, "welcome") not in kept
        }

    @property
    def _shelf(self) -> DocumentShelf:
        return keeping_of(self._root).shelf(FOLDER)

    def _object(self, number: str, kind: str) -> dict[str, Any] | None:
        # The number comes from outside: only one that is well formed is looked up.
        if not _NUMBER.fullmatch(number):
            return None
        name = _name(number, kind)
        data = self._shelf.get(name)
        return None if data is None else parse_object(data, f"{FOLDER}/{name}")


def _name(number: str, kind: str = "") -> str:
    return f"{number}.{kind}.json" if kind else f"{number}.json"


def _load(name: str, data: bytes) -> Invitation:
    where = f"{FOLDER}/{name}"
    value = parse_object(data, where)
    check_fields(value, _FIELDS, where)
    return Invitation(
        name.removesuffix(".json"),
        typed(value, "name", str, where),
        typed(value, "secret_hash", str, where),
        typed(value, "made_at", int, where),
        typed(value, "ends_at", int, where),
    )


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode()
