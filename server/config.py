"""Reading the files that operators and partners hand in: a wrong one is told by field and cure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar


class ConfigError(Exception):
    """The hub's directory or an operator's input is wrong; names the field and the cure."""

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
