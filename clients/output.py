"""Which exit codes the errors have that partners' programs alone know.

See `compliance.commands.output`.
"""

from __future__ import annotations

from compliance.commands.output import explain_by
from compliance.exits import Exit


class CommandError(RuntimeError):
    """A command could not do its work; carries what to tell."""


def explain(error: Exception) -> int:
    """Write one clear line about a known error and return its exit code.

    Raises:
        Exception: the error itself, if it is not a known one.
    """
    return explain_by(error, _own)


def _own(error: Exception) -> Exit | None:
    # Imported where something went wrong: help must not wait for cryptography and HTTP.
    from clients.keys import KeyStoreError  # noqa: PLC0415  see above
    from clients.lookup.https import HubRefusedError  # noqa: PLC0415  see above

    match error:
        case KeyStoreError():
            return Exit.CONFIG
        case HubRefusedError():
            return Exit.REFUSED
        case CommandError():
            return Exit.FAILED
    # By name: its module loads Flower, which an error of another command must not wait for.
    return Exit.FAILED if type(error).__name__ == "SuperNodeError" else None
