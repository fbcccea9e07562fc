"""What every partner handed in to join, by name; each read once until it is another."""

from __future__ import annotations

import json
from typing import Any

from compliance.configuration import ConfigError
from server.keeping.shelves import DocumentShelf

FOLDER = "partners"
_SUFFIX = ".json"


class Partners:
    """The partners of one hub, those that were revoked among them; for any number of threads."""

    def __init__(self, shelf: DocumentShelf) -> None:
        self._shelf = shelf
        self._parsed: dict[str, tuple[bytes, dict[str, Any]]] = {}

    def mark(self) -> object:
        """Return what is another once anything of any partner is another."""
        return self._shelf.state()[0]

    def names(self) -> list[str]:
        """Return the names of all, sorted."""
        return [name.removesuffix(_SUFFIX) for name in self._shelf.names()]

    def find(self, name: str) -> dict[str, Any] | None:
        """Return what one handed in, or None; the caller must not change it.

        Raises:
            ConfigError: it is damaged.
        """
        data = self._shelf.get(f"{name}{_SUFFIX}")
        if data is None:
            return None
        known = self._parsed.get(name)
        if known is None or known[0] != data:
            known = self._parsed[name] = data, parse_object(data, f"{name}{_SUFFIX}")
        return known[1]

    def keep(self, name: str, kept: dict[str, Any]) -> None:
        """Keep what one handed in, durably."""
        self._shelf.put(f"{name}{_SUFFIX}", json.dumps(kept, indent=1).encode())


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object that a document of our own holds.

    Raises:
        ConfigError: it holds none.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid JSON; restore it from a backup") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: must hold one object; restore it from a backup")
    return value
