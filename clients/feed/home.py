"""The feed's part of a node's directory.

feed/feed.json             what the operator chooses; written with defaults on first use
feed/benign.json           numbers shared by many innocent people, never published; may be missing
feed/register.sqlite       all reports ever given, sealed (`register`)
feed/tables/<e>-<v>.table  the table as it was last published, byte for byte what the hub has
feed/tables/<e>-<v>.delta  a version that is being published
keys/feed.key              opens the register
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from clients.feed.defects import DefectError
from clients.feed.register import Register
from clients.feed.reports import CATEGORY_WORDS, SOURCE_WORDS, Defaults, read_use, word
from clients.feed.sealing import load_feed_key
from clients.node.files import make_private_directory, store_json
from clients.node.home import Home
from compliance.configuration import ConfigError, check_fields, read_object, typed
from protocols.errors import MalformedMessageError
from protocols.lookup.benign import BenignList
from protocols.lookup.payload import Category, SourceClass, Use, month_of
from protocols.oprf.suite import Random

_FIELDS = {"source", "use", "retention_months", "renew_after_hours"}
_DEFAULT = "default"
_MAX_RETENTION = 600
_MAX_RENEWAL_H = 24 * 31
_WRITTEN: dict[str, Any] = {
    "source": "police",
    "use": "counter,screening,care",
    "retention_months": {_DEFAULT: 24},
    "renew_after_hours": 12,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The contents of feed.json.

    Attributes:
        source, use: what holds where a row says nothing.
        retention: months that a record is kept after it was last seen, by category.
        renew_after_s: when a table without changes is published again, so that desks see
            that nothing is missing; they go grey on a table that is too old.
    """

    source: SourceClass
    use: Use
    retention: Mapping[Category, int]
    renew_after_s: int

    def defaults(self, now: int) -> Defaults:
        """Return what an empty field means at `now`."""
        return Defaults(self.source, self.use, month_of(now))


@dataclass(frozen=True, slots=True)
class FeedHome:
    """The feed of one node."""

    node: Home

    @property
    def root(self) -> Path:
        """Return the feed's own directory."""
        return make_private_directory(self.node.root / "feed")

    @property
    def tables(self) -> Path:
        """Return the directory of published tables."""
        return make_private_directory(self.root / "tables")

    def register(self, *, random: Random = os.urandom) -> Register:
        """Open the register; its key is made with it, and never for one that exists.

        Raises:
            KeyStoreError: the key is missing or unusable.
            LogCorruptError: the register belongs to another key, or is damaged.
        """
        path = self.root / "register.sqlite"
        key = load_feed_key(self.node.keys / "feed.key", create=not path.exists(), random=random)
        return Register(path, key)

    def settings(self) -> Settings:
        """Read feed.json, or write it with the defaults.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        path = self.root / "feed.json"
        if not path.exists():
            store_json(path, _WRITTEN)
        return _settings(read_object(path))

    def benign(self) -> BenignList | None:
        """Read the list of numbers that are never published.

        Raises:
            ConfigError: it is there and cannot be used.
        """
        path = self.root / "benign.json"
        if not path.exists():
            return None
        try:
            return BenignList.parse(path.read_bytes())
        except (MalformedMessageError, OSError) as error:
            raise ConfigError(f"{path.name}: {error}; take a new copy or remove it") from error

    def benign_stamp(self) -> bytes:
        """Name the contents of the list, to see later whether it has changed."""
        path = self.root / "benign.json"
        return sha256(path.read_bytes()).digest() if path.exists() else b""


def _settings(value: dict[str, Any]) -> Settings:
    where = "feed.json"
    check_fields(value, _FIELDS, where)
    hours = typed(value, "renew_after_hours", int, where)
    if not 1 <= hours <= _MAX_RENEWAL_H:
        raise ConfigError(f"{where}: renew_after_hours must be in 1..{_MAX_RENEWAL_H}; correct it")
    return Settings(
        source=_word(value, "source", lambda text: word(text, SOURCE_WORDS)),
        use=_word(value, "use", read_use),
        retention=_retention(typed(value, "retention_months", dict, where)),
        renew_after_s=hours * 3600,
    )


def _word(value: dict[str, Any], name: str, read: Any) -> Any:
    try:
        return read(typed(value, name, str, "feed.json"))
    except DefectError as error:
        raise ConfigError(f"feed.json: {name} {error.rule}; {error.cure}") from None


def _retention(value: dict[str, Any]) -> dict[Category, int]:
    names = {category.name.lower() for category in Category} | {_DEFAULT}
    for name, months in value.items():
        if name not in names or type(months) is not int or not 1 <= months <= _MAX_RETENTION:
            raise ConfigError(
                "feed.json: retention_months needs whole months from 1 to "
                f"{_MAX_RETENTION} by category, or as default; correct it"
            )
    if _DEFAULT not in value:
        raise ConfigError("feed.json: retention_months needs a default; add it")
    return {
        category: value.get(category.name.lower(), value[_DEFAULT])
        for category in sorted(set(CATEGORY_WORDS.values()))
    }
