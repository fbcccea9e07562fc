"""A partner's part of alignment: send the set, keep where its own rows stand.

    partner -> hub   PseudonymSet
    hub -> partner   RowNumbers, or Refusal

Nothing that a partner sends depends on the order of its table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.align.errors import AlignmentRefusedError
from protocols.align.messages import ABSENT, MAX_ROWS, PseudonymSet, Refusal, decode_answer, halves
from protocols.align.pseudonyms import PSEUDONYM_SIZE, Pseudonyms
from protocols.align.union import Membership
from protocols.errors import InvalidTableError, MalformedMessageError, UnsupportedParameterError
from protocols.program import Program, Progress, Receive, Send


@dataclass(frozen=True, slots=True)
class RowMap:
    """Where a partner's rows stand in the joint table.

    Shapes:
        rows: (count,) int32; the place of each of the partner's own rows in the order of
            its table, `ABSENT` where the row takes no part.
    """

    rows: NDArray[np.int32] = field(repr=False)
    total: int

    def scatter(self, values: NDArray[Any]) -> NDArray[Any]:
        """Place rows of values in the joint table; places of others stay zero.

        Shapes:
            values: (count, ...); result: (total, ...).
        """
        joint = np.zeros((self.total, *values.shape[1:]), dtype=values.dtype)
        present = self.rows != ABSENT
        joint[self.rows[present]] = values[present]
        return joint


def align_rows(
    pseudonyms: Pseudonyms,
    *,
    hub: str = "hub",
    max_rows: int = MAX_ROWS,
    membership: Membership = Membership.HIDDEN,
) -> Program[RowMap]:
    """Learn the places of our rows, and nothing of the others but the padded size.

    Shapes:
        pseudonyms: (count, 16), one a row, in the order of our table.

    Args:
        pseudonyms: ours, each once.
        hub: the name of the party that joins.
        max_rows: the most rows that we accept for the joint table.
        membership: what the agreement says; rows may be absent only where it is shared.

    Raises:
        AlignmentRefusedError: the hub gave a reason instead of rows.
        InvalidTableError: a pseudonym occurs twice.
        MalformedMessageError: the answer does not decode or does not fit our set.
    """
    if pseudonyms.ndim != 2 or pseudonyms.shape[1] != PSEUDONYM_SIZE:  # noqa: PLR2004 rows and bytes
        raise UnsupportedParameterError(
            f"pseudonyms: shape {pseudonyms.shape}, expected (rows, 16)"
        )
    high, low = halves(pseudonyms)
    order = np.lexsort((low, high))
    ordered = np.ascontiguousarray(pseudonyms[order])
    if (ordered[1:] == ordered[:-1]).all(axis=1).any():
        raise InvalidTableError("identifiers: a person occurs twice; keep one row for each")
    yield Progress("align", 0, 1)
    yield Send(hub, PseudonymSet(ordered).encode())
    answer = decode_answer((yield Receive(hub)))
    if isinstance(answer, Refusal):
        raise AlignmentRefusedError(answer.reason)
    if len(answer.rows) != len(order) or answer.total > max_rows:
        raise MalformedMessageError(
            f"row numbers: {len(answer.rows)} of {answer.total}, expected {len(order)} "
            f"of at most {max_rows}"
        )
    if membership is Membership.HIDDEN and (answer.rows == ABSENT).any():
        raise MalformedMessageError("row numbers: a row is absent though membership is hidden")
    rows = np.empty(len(order), dtype=np.int32)
    rows[order] = answer.rows
    yield Progress("align", 1, 1)
    return RowMap(rows, answer.total)
