"""Whether the log is published as it grows, as it is told to partners and operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.log.outcomes import WitnessState


@dataclass(frozen=True, slots=True)
class PublicationState:
    """Whether the log is published as it grows.

    Args:
        sizes: by origin, up to where it is published.
        published_at: when that was last tried with success, Unix seconds; 0 if never.
        unwitnessed_since: since when there is no quorum, or None while there is one.
        text: why the last try failed; empty if it did not.
        is_corrupt: the log is not what was written; nothing more is tried.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    published_at: int = 0
    unwitnessed_since: int | None = None
    text: str = ""
    is_corrupt: bool = False
    alarms: int = 0
    witnesses: tuple[WitnessState, ...] = ()

    @property
    def is_witnessed(self) -> bool:
        """Whether the last try found its quorum."""
        return self.published_at > 0 and self.unwitnessed_since is None and not self.is_corrupt
