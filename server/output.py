"""Which exit codes the errors have that the hub alone knows; see `compliance.commands.output`."""

from __future__ import annotations

from compliance.commands.output import explain_by
from compliance.exits import Exit


def explain(error: Exception) -> int:
    """Write one clear line about a known error and return its exit code.

    Raises:
        Exception: the error itself, if it is not a known one.
    """
    return explain_by(error, _own)


def _own(error: Exception) -> Exit | None:
    # By name: its module loads Flower, which an error of another command must not wait for.
    return Exit.FAILED if type(error).__name__ == "SuperLinkError" else None
