"""Refusals of the shared-key protocol, one for each cure.

A proof that does not verify is `InvalidProofError`, bytes that do not decode are
`MalformedMessageError`; what stands here needs a person or another request.
"""

from __future__ import annotations

from typing import ClassVar

from protocols.errors import InvalidProofError, ProtocolError


class RogueHolderError(InvalidProofError):
    """A holder broke the rules of a key set-up; it must be repeated without it."""

    code: ClassVar[str] = "rogue_holder"


class WrongShareError(InvalidProofError):
    """A share does not belong to the commitments or the public key it was given with."""

    code: ClassVar[str] = "wrong_share"


class WrongEpochError(ProtocolError):
    """The message belongs to another epoch or key; load the manifest in force."""

    code: ClassVar[str] = "wrong_epoch"


class ReplayedMessageError(ProtocolError):
    """The message answers another request, or one already answered by that holder."""

    code: ClassVar[str] = "replayed_message"


class TooFewHoldersError(ProtocolError):
    """Fewer holders than the threshold have answered; ask another one."""

    code: ClassVar[str] = "too_few_holders"
