"""What only the log's protocols can refuse."""

from __future__ import annotations

from typing import ClassVar

from protocols.errors import ProtocolError


class NotCosignedError(ProtocolError):
    """A witness did not cosign; whatever its reason, the checkpoint counts as not witnessed.

    Args:
        status: the HTTP status of its answer.
        known_size: the size it last cosigned, if it said so; a new try starts from there.
        suspects_fork: it says that the checkpoint contradicts what it cosigned: an alarm.
    """

    code: ClassVar[str] = "not_cosigned"

    def __init__(
        self, message: str, *, status: int, known_size: int | None = None, suspects_fork: bool
    ) -> None:
        super().__init__(message)
        self.status = status
        self.known_size = known_size
        self.suspects_fork = suspects_fork
