"""Running the checks of a `doctor`: one that fails does not stop the others."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Check = tuple[str, Callable[[], bool], str]
"""What is checked, whether it holds, and how to mend it."""

LEAST_FREE_BYTES = 1 << 30
_PYTHONS = ((3, 11), (3, 14))


def run_checks(checks: Sequence[Check], known: tuple[type[Exception], ...]) -> list[dict[str, Any]]:
    """Run every check and tell what was found.

    Args:
        known: our own errors, whose text says why a check does not hold.
    """
    findings = []
    for name, check, cure in checks:
        ok, found = _holds(check, known)
        findings.append({"check": name, "ok": ok, "found": found, "cure": cure})
    return findings


def python_fits() -> bool:
    """Whether this Python is one that the project supports."""
    return _PYTHONS[0] <= sys.version_info[:2] < _PYTHONS[1]


def has_space(directory: Path) -> bool:
    """Whether a gibibyte of disk is free."""
    return shutil.disk_usage(directory).free >= LEAST_FREE_BYTES


def _holds(check: Callable[[], bool], known: tuple[type[Exception], ...]) -> tuple[bool, str]:
    """Tell whether a check holds and, where our own error says why not, what it says."""
    try:
        return check(), ""
    except known as error:
        return False, str(error)
    except (OSError, ValueError):
        return False, ""
