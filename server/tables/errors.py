"""Why a table could not be published or read."""

from __future__ import annotations

from typing import ClassVar


class VersionConflictError(Exception):
    """The delta does not follow on the version in force; fetch that one and build anew.

    Args:
        current: the version in force, 0 where there is none.
    """

    code: ClassVar[str] = "version_conflict"

    def __init__(self, message: str, *, current: int) -> None:
        super().__init__(message)
        self.current = current


class NotKeptError(Exception):
    """There is no such table, version, bucket or delta, or it is no longer kept."""

    code: ClassVar[str] = "not_found"
