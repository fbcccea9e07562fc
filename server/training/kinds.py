"""Which partners of a run hold the same kind of rows, and so share a block.

The agreement says what each partner is. Those that are the same share a block if their
contracts name the same columns, with the same ranges and levels; those that hold labels
do so whatever their columns are, since a label holder's own columns stay with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocols.codec import canonical_json
from protocols.errors import UnsupportedParameterError
from protocols.vertical.contract import Contract

Kinds = dict[str, tuple[str, ...]]
"""By name of the block, who holds rows of it; the first to prevail comes first."""


def shared_kinds(
    roles: Mapping[str, str],
    label_holder: str,
    contracts: Mapping[str, Contract],
    taking: Mapping[str, Sequence[str]],
) -> Kinds:
    """Return the blocks of several partners; who stands in none stands alone.

    Args:
        roles: by partner, as the agreement says; absent where it says nothing.
        taking: by partner, the columns that take part.
    """
    found: dict[tuple[str, bytes], list[str]] = {}
    for name in sorted(contracts):
        role = roles.get(name)
        if role is None:
            continue
        if contracts[name].label is not None:
            found.setdefault((role, b"label"), []).append(name)
        elif taking[name]:
            narrowed = contracts[name].narrowed(frozenset(taking[name]))
            columns = canonical_json(narrowed.format()["columns"])
            found.setdefault((role, columns), []).append(name)
    kinds: Kinds = {}
    for (role, _), names in found.items():
        if len(names) > 1:
            ordered = sorted(names, key=lambda name: (name != label_holder, name))
            kinds[_free(role, kinds, contracts.keys() - set(names))] = tuple(ordered)
    return kinds


def label_holders(kinds: Kinds, label_holder: str) -> tuple[str, ...]:
    """Return everyone who holds labels of the run."""
    return next((names for names in kinds.values() if label_holder in names), (label_holder,))


def check_experts_of(kinds: Kinds, neural: Mapping[str, float]) -> None:
    """Refuse an expert of some members of a block: they train it together, or not at all.

    Raises:
        UnsupportedParameterError: names the block and the cure.
    """
    for kind, names in kinds.items():
        if len({neural.get(name) for name in names}) > 1:
            raise UnsupportedParameterError(
                f"neural: {', '.join(names)} are of one kind ({kind}) and train together; name "
                "all of them or none"
            )


def _free(role: str, taken: Mapping[str, object], others: set[str]) -> str:
    """Return a name for a block that no other block and no partner outside of it has."""
    number, name = 1, role
    while name in taken or name in others:
        number += 1
        name = f"{role}-kind-{number}"
    return name
