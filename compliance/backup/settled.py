"""The mark on a directory that was put back from a backup, ROOT/restored.json.

What happened after the backup is not in it: evaluations that were charged, runs that spent
budget, partners that were shut out. Until that is made up for, and an officer has confirmed
it, nothing is served and no budget is set aside; the mark says since when. A settled one is
kept in ROOT/restores/.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from compliance.atrest.errors import SealedKeysError
from compliance.backup.manifest import LogState, Manifest
from compliance.errors import ComplianceError
from compliance.files import write_atomically

MARK = "restored.json"
FOLDER = "restores"


class RestoredError(ComplianceError):
    """The directory was put back from a backup, and what came after it is not made up for."""

    code: ClassVar[str] = "restored"


@dataclass(frozen=True, slots=True)
class Restored:
    """What is known of a restore.

    Args:
        made_at, restored_at: of the backup, and of the restore; Unix seconds.
        logs: how far the logs had come in the backup.
        spent_runs: runs that were open then, and count as spent in full.
    """

    kind: str
    name: str
    made_at: int
    restored_at: int
    logs: tuple[LogState, ...]
    spent_runs: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest, now: int, spent_runs: tuple[str, ...]) -> Restored:
        """Return the mark of a directory that was just put back."""
        return cls(manifest.kind, manifest.name, manifest.made_at, now, manifest.logs, spent_runs)

    def store(self, root: Path) -> None:
        """Mark a directory."""
        write_atomically(root / MARK, json.dumps(asdict(self), indent=1).encode())

    def size_of(self, origin: str) -> int:
        """Return how many entries a log had in the backup."""
        return next((log.size for log in self.logs if log.origin == origin), 0)


def restored(root: Path) -> Restored | None:
    """Return the mark of a directory, or None.

    Raises:
        SealedKeysError: it is damaged.
    """
    try:
        value: dict[str, Any] = json.loads((root / MARK).read_bytes())
        logs = tuple(LogState(**item) for item in value.pop("logs"))
        return Restored(logs=logs, spent_runs=tuple(value.pop("spent_runs")), **value)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SealedKeysError(f"{MARK}: damaged; restore the backup anew") from error


def check_settled(root: Path) -> None:
    """Refuse to act for a directory whose restore is not settled.

    Raises:
        RestoredError: names the command that settles it.
    """
    found = restored(root)
    if found is not None:
        program = "lianfang-hub" if found.kind == "hub" else "lianfang"
        raise RestoredError(
            f"{root}: was put back from a backup, and what was spent and decided since then is "
            f"not made up for; run `{program} settle {root} --help`"
        )


def finish(root: Path, found: Restored, outcome: dict[str, Any]) -> None:
    """Take the mark away, once everything is made up for; what was found out is kept."""
    kept = root / FOLDER / f"{found.restored_at}.json"
    write_atomically(kept, json.dumps(asdict(found) | {"outcome": outcome}, indent=1).encode())
    (root / MARK).unlink(missing_ok=True)
