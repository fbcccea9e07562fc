"""Reading the files that operators write: a wrong one is told by its file, field and cure.

Nothing of a file's contents but field names enters a message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")


class ConfigError(Exception):
    """A configuration file is missing or wrong; names the file, the field and the cure."""

    code: ClassVar[str] = "config_error"


def read_object(path: Path, *, cure: str = "correct the path") -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        cure: what to do where there is no such file.

    Raises:
        ConfigError: missing, unreadable, or not one JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path.name}: not found; {cure}") from error
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read; correct the path or its mode") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name}: not valid JSON; correct it or take a new copy") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path.name}: must hold one object; correct it")
    return value


def check_fields(value: Mapping[str, Any], names: set[str], where: str) -> None:
    """Refuse unknown and missing fields, by name.

    Raises:
        ConfigError: names one of each.
    """
    missing, unknown = sorted(names - set(value)), sorted(set(value) - names)
    if missing:
        raise ConfigError(f"{where}: the field {missing[0]} is missing; add it")
    if unknown:
        raise ConfigError(
            f"{where}: {len(unknown)} unknown fields ({unknown[0][:32]}); remove them"
        )


def typed(value: Mapping[str, Any], name: str, kind: type[T], where: str) -> T:
    """Return a field that must be exactly of a type.

    Raises:
        ConfigError: it is of another.
    """
    found = value[name]
    if type(found) is not kind:
        raise ConfigError(f"{where}: {name} must be of type {_NAMES[kind]}; correct it")
    return found


_NAMES: dict[type, str] = {str: "text", dict: "object", list: "list", int: "whole number"}
