"""Why partners could not be aligned."""

from __future__ import annotations

from typing import ClassVar

from protocols.align.messages import RefusalReason
from protocols.errors import ProtocolError

# What the operator of a partner can do about it; no size but its own is known to it.
_CURES = {
    RefusalReason.MALFORMED_SET: "a partner's set could not be read; update its software",
    RefusalReason.TOO_MANY_ROWS: "more rows than the agreement allows; lower the sample fraction",
    RefusalReason.TOO_FEW_ROWS: "fewer rows than the agreement asks; raise the sample fraction",
    RefusalReason.NO_OVERLAP: "too few people shared with the label holder; compare kind and "
    "spelling of the identifiers",
}


class AlignmentRefusedError(ProtocolError):
    """The hub placed no rows; carries the reason and no size."""

    code: ClassVar[str] = "alignment_refused"

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(f"alignment: {reason.name.lower()}: {_CURES[reason]}")
        self.reason = reason
