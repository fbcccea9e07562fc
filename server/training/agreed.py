"""What the agreement in force leaves open in a plan, where the operator says nothing.

Every value is the usual one, brought within what the parties have agreed: never more epsilon,
never fewer rows, nobody who may not compute, no column that no contract of theirs names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from glob import escape
from typing import Any

from compliance.agreement.document import Agreement
from compliance.agreement.drafting import FRAUD

KEYED, OBLIVIOUS = "keyed", "oblivious"
HIDDEN = "hidden"
USUAL_EPSILON, USUAL_DELTA, USUAL_ROWS = 1.0, 1e-5, 500


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a proposal takes where nothing is chosen.

    Attributes:
        pseudonyms: where they may come from.
        compute: who may compute; empty where no agreement is in force, and nothing can be run.
        columns: by partner, the columns that its contract names.
        roles: by partner, what it is.
    """

    purpose: str = FRAUD
    epsilon: float = USUAL_EPSILON
    delta: float = USUAL_DELTA
    membership: str = HIDDEN
    pseudonyms: tuple[str, ...] = (OBLIVIOUS, KEYED)
    min_rows: int = USUAL_ROWS
    compute: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, agreement: Agreement | None) -> Agreed:
        """Read the agreement in force; without one the usual values stay, and are denied."""
        if agreement is None:
            return cls()
        terms, caps = agreement.training, agreement.caps
        allowed = agreement.purposes
        return cls(
            purpose=FRAUD if FRAUD in allowed else allowed[0],
            epsilon=min(USUAL_EPSILON, caps.run_epsilon, *caps.recipients.values()),
            delta=min(USUAL_DELTA, caps.delta),
            membership=HIDDEN if HIDDEN in terms.membership else terms.membership[0],
            pseudonyms=terms.pseudonyms,
            min_rows=max(USUAL_ROWS, terms.min_rows),
            compute=terms.compute,
            columns={name: item.columns for name, item in agreement.contracts.items()},
            roles={party.name: party.role.value for party in agreement.parties},
        )

    def partners(self, joined: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Return who takes part: who joined and has a contract under the agreement."""
        return sorted(set(joined) & set(self.columns)) or sorted(joined)

    def narrowed(
        self,
        chosen: Mapping[str, tuple[str, ...]],
        partners: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, tuple[str, ...]]:
        """Add the agreed columns of every partner for which the operator chose none.

        Returns patterns; a partner whose whole contract is agreed has none.
        """
        found = dict(chosen)
        for name, partner in partners.items():
            has = [column["name"] for column in partner["contract"]["columns"]]
            allowed = set(self.columns.get(name, has))
            agreed = tuple(escape(column) for column in has if column in allowed)
            # Where nothing is left the whole contract stays, and is denied with the reason.
            if name not in found and 0 < len(agreed) < len(has):
                found[name] = agreed
        return found
