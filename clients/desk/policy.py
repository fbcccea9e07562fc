"""How a desk decides: which tables it needs, how old they may be, what dense ranges mean.

`desk/policy.json` holds any of these; what is not there has its default:

    required        contributors without whose table there is no green; null for all of the
                    manifest but this node itself
    max_age_s       the greatest age of a table, counted from when its contributor made it
    max_ages_s      the same for single contributors
    refresh_s       how long a check may rely on the last synchronisation
    dense_ranges    for "counter" and "screening": "alarm" or "refuse"

The shared numbers that have no light stand in `desk/benign.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from clients.lookup.tables import Table
from compliance.configuration import ConfigError, read_object
from protocols.epoch.manifest import EpochManifest
from protocols.lookup.benign import BenignList
from protocols.lookup.light import Source

MAX_AGE_S = 2 * 86_400
REFRESH_S = 300
_WHERE = "desk/policy.json"


class OnDense(StrEnum):
    """What happens when numbers side by side are asked for."""

    ALARM = "alarm"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class DeskPolicy:
    """The contents of desk/policy.json."""

    required: frozenset[str] | None = None
    max_age_s: int = MAX_AGE_S
    max_ages_s: Mapping[str, int] = field(default_factory=dict)
    refresh_s: int = REFRESH_S
    at_counter: OnDense = OnDense.ALARM
    in_screening: OnDense = OnDense.REFUSE

    def sources(
        self, manifest: EpochManifest, tables: Mapping[str, Table], *, own: str, now: int
    ) -> tuple[Source, ...]:
        """Return every contributor's table with its age at `now`."""
        names = set(manifest.contributors) | (self.required or set())
        return tuple(
            Source(
                name,
                now - tables[name].header.made_at if name in tables else None,
                self.max_ages_s.get(name, self.max_age_s),
                name != own if self.required is None else name in self.required,
            )
            for name in sorted(names)
            if name != own or name in tables
        )


def load_policy(root: Path) -> DeskPolicy:
    """Read the policy of a node's desk.

    Raises:
        ConfigError: names the field, the rule and the cure.
    """
    path = root / "desk" / "policy.json"
    if not path.exists():
        return DeskPolicy()
    value = read_object(path)
    fields = {"required", "max_age_s", "max_ages_s", "refresh_s", "dense_ranges"}
    if unknown := sorted(set(value) - fields):
        raise ConfigError(f"{_WHERE}: unknown field {unknown[0][:32]}; remove it")
    dense = _mapping(value, "dense_ranges", {"counter", "screening"})
    return DeskPolicy(
        _names(value.get("required")),
        _seconds(value.get("max_age_s", MAX_AGE_S), "max_age_s"),
        {
            name: _seconds(age, f"max_ages_s of {name}")
            for name, age in _mapping(value, "max_ages_s", None).items()
        },
        _seconds(value.get("refresh_s", REFRESH_S), "refresh_s"),
        _on_dense(dense.get("counter", OnDense.ALARM)),
        _on_dense(dense.get("screening", OnDense.REFUSE)),
    )


def load_benign(root: Path) -> BenignList:
    """Read the list of shared numbers; none if there is no file."""
    path = root / "desk" / "benign.json"
    return BenignList.parse(path.read_bytes()) if path.exists() else BenignList(1, ())


def _mapping(value: dict[str, Any], name: str, names: set[str] | None) -> dict[str, Any]:
    found = value.get(name, {})
    if not isinstance(found, dict) or (names is not None and set(found) - names):
        expected = "an object" if names is None else f"an object of {', '.join(sorted(names))}"
        raise ConfigError(f"{_WHERE}: {name} must be {expected}; correct it")
    return found


def _names(value: object) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{_WHERE}: required must be null or a list of contributors; correct it")
    return frozenset(value)


def _seconds(value: object, name: str) -> int:
    if type(value) is not int or value < 0:
        raise ConfigError(f"{_WHERE}: {name} must be whole seconds from 0; correct it")
    return value


def _on_dense(value: object) -> OnDense:
    try:
        return OnDense(str(value))
    except ValueError as error:
        raise ConfigError(f"{_WHERE}: dense_ranges must say alarm or refuse; correct it") from error
