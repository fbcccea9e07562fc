"""What may follow what: epochs rise, a refresh keeps the key, numbers are never given twice.

A contributor's number is part of every tag that it published. Were it given to someone
else, old tables of the first would open as words of the second.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.epoch.manifest import EpochManifest
from protocols.errors import InvalidProofError


def verify_succession(before: EpochManifest, after: EpochManifest) -> None:
    """Check that `after` may follow `before`: one hub, rising, and no number given twice.

    A refresh of the shares keeps epoch and public key and raises the generation; a new key
    needs a later epoch.

    Raises:
        InvalidProofError: names the rule that is broken.
    """
    if after.hub != before.hub:
        raise InvalidProofError("manifest: of another hub than the one before it")
    old, new = before.record, after.record
    if (new.epoch, new.generation) <= (old.epoch, old.generation):
        raise InvalidProofError(
            f"manifest: epoch {new.epoch} generation {new.generation} does not come after "
            f"epoch {old.epoch} generation {old.generation}"
        )
    if new.epoch == old.epoch and new.public != old.public:
        raise InvalidProofError(f"manifest: a second public key for epoch {new.epoch}")
    verify_numbers(before.contributors, after.contributors)


def verify_numbers(before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """Check that contributors keep their numbers and that nobody takes over another's.

    Raises:
        InvalidProofError: names the contributor and the number.
    """
    owners = {number: name for name, number in before.items()}
    for name, number in after.items():
        if before.get(name, number) != number:
            raise InvalidProofError(
                f"manifest: {name} has number {number}, it had {before[name]} before"
            )
        if owners.get(number, name) != name:
            raise InvalidProofError(
                f"manifest: number {number} of {name} belonged to {owners[number]} before"
            )
