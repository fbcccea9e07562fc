"""What opens a backup, as the commands are told it."""

from __future__ import annotations

import os
from pathlib import Path

from compliance.atrest.envelope import Material
from compliance.atrest.unlocking import material_of

BACKUP_KEY = "LIANFANG_BACKUP_KEY"


def backup_material(spec: str, file: Path, *, is_new: bool) -> Material:
    """Return the passphrase or key of a backup.

    Args:
        spec: see `compliance.atrest.unlocking`; where it is empty, LIANFANG_BACKUP_KEY says, and
            else it is asked for.
        is_new: it is typed twice.

    Raises:
        SealedKeysError: it cannot be read.
    """
    chosen = spec or os.environ.get(BACKUP_KEY, "") or "ask"
    return material_of(chosen, prompt=f"Passphrase of the backup {file.name}", again=is_new)


def size_text(size: int) -> str:
    """Return a size for people."""
    shown, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if shown < 1 << 10:
            break
        shown, unit = shown / (1 << 10), larger
    return f"{shown:,.0f} {unit}" if unit == "bytes" else f"{shown:,.1f} {unit}"
