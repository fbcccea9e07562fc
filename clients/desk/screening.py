"""Screening a whole customer base: what it costs, then the lights of all of it.

A run may be killed anywhere and started again: what was evaluated is in the cache, what was
asked and not answered is asked again under the same number, so nothing is charged twice. A
second run of the same customers asks nothing at all; it only searches the newer tables.

The result names rows, colours and codes of reasons. Identifiers are in it only on demand.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clients.desk.before import COLOURS, LastLights
from clients.desk.columns import load_column
from clients.desk.desk import Desk
from clients.desk.journal import CheckEntry
from clients.desk.matching import Lights, match_all
from clients.desk.policy import OnDense
from clients.desk.ranges import find_dense
from clients.desk.screened import MALFORMED, SHARED, Preview, Summary
from clients.lookup.evaluating import OnProgress
from compliance.errors import NotPermittedError
from compliance.policy.actors import Principal
from protocols.identifiers import IdentifierKind
from protocols.link import TransportError
from protocols.lookup.payload import Use, month_of
from protocols.lookup.request import Purpose
from protocols.oprf.errors import WrongEpochError

# What one core of a plain machine does, all parties together on it; for the estimate only.
EVALUATIONS_PER_S = 4_000
_OPEN_NONE = -1


class Screening:
    """One file of customers, at one desk.

    Args:
        care: also show suspected victims, for outreach with care and nothing else.

    Raises:
        InvalidTableError: the file or column cannot be used.
    """

    def __init__(
        self, desk: Desk, file: Path, *, column: str, kind: IdentifierKind, care: bool = False
    ) -> None:
        self._desk = desk
        self._lookup = desk.lookup
        self._name = file.name
        self._kind = kind
        self._use = Use.SCREENING | Use.CARE if care else Use.SCREENING
        self._column = load_column(file, column, kind)
        self._problem = self._lookup.freshen(desk.policy.refresh_s)
        self._shared = np.zeros(len(self._column.canonical), np.bool_)
        if desk.benign.entries:
            covered = [desk.benign.covers(item) for item in self._column.canonical]
            self._shared = np.array(covered, np.bool_)
        self._cache = self._lookup.epoch().cache
        self._tokens = self._cache.tokens(self._column.canonical)
        self._positions = self._cache.positions(self._tokens)

    def preview(self) -> Preview:
        """Say what a run will cost; nothing is asked of the holders."""
        needed = self._needed()
        valid, unique = len(self._column.canonical), len(np.unique(self._tokens[:, 0]))
        return Preview(
            rows=len(self._column.values),
            valid=valid,
            malformed=self._column.malformed,
            duplicates=valid - unique,
            shared=int(self._shared.sum()),
            cached=int((self._positions >= 0).sum()),
            needed=len(needed),
            quota_left=self._quota_left(),
            seconds=-(-len(needed) // EVALUATIONS_PER_S),
            dense=find_dense(needed),
        )

    def run(
        self,
        out: Path,
        *,
        approved_by: str = "",
        keep_identifier: bool = False,
        on_progress: OnProgress | None = None,
        by: Principal | None = None,
    ) -> Summary:
        """Evaluate what is missing, match everybody, and write the result.

        Raises:
            NotPermittedError: a dense range without an approval, too little quota left, or
                the agreement or the policies do not permit it.
            HubRefusedError: the hub or a holder refused; what was evaluated stays.
            TransportError: the hub stays away; the same run goes on from here.
        """
        permitting = self._desk.permitting
        permission = permitting.screening(by=by, approved_by=approved_by)
        with permitting.told(permission):
            evaluated, requests = self._evaluate(approved_by, on_progress)
            positions = np.where(self._shared, _OPEN_NONE, self._positions)
            lights = self._match(np.flatnonzero(self._first_at(positions) >= 0))
        summary = self._conclude(positions, lights, evaluated)
        self._note(requests, approved_by)
        permitting.screened(permission, len(self._column.canonical))
        _write(out, self._frame(positions, lights, keep_identifier=keep_identifier))
        return summary

    def _evaluate(self, approved_by: str, on_progress: OnProgress | None) -> tuple[int, list[str]]:
        """Have evaluated what is not in the cache; returns how many, and the requests' numbers."""
        needed = self._needed()
        self._require_permission(needed, approved_by)
        requests: list[str] = []
        if needed:
            found = self._lookup.evaluate(
                needed, purpose=Purpose.SCREENING, on_progress=on_progress
            )
            requests = [receipt.request_id.hex() for receipt in found.receipts]
            # Shares may have been refreshed meanwhile; the cache is that of the epoch.
            self._cache = self._lookup.epoch().cache
            self._positions = self._cache.positions(self._tokens)
        if ((self._positions < 0) & ~self._shared).any():
            raise WrongEpochError(
                "screening: another epoch came into force meanwhile; run it again, what was "
                "evaluated stays"
            )
        return len(needed), requests

    def _needed(self) -> list[bytes]:
        wanted = (self._positions < 0) & ~self._shared
        canonical = self._column.canonical
        return list(dict.fromkeys(canonical[at] for at in np.flatnonzero(wanted).tolist()))

    def _quota_left(self) -> int | None:
        try:
            return self._lookup.api.quota().left
        except TransportError:
            return None

    def _require_permission(self, needed: list[bytes], approved_by: str) -> None:
        if not needed:
            return
        subject = f"screening of {self._name}"
        now = self._lookup.clock.now()
        dense = self._desk.watch.look_at_batch(needed, now=now, subject=subject)
        refuses = self._desk.policy.in_screening is OnDense.REFUSE
        if dense is not None and refuses and not approved_by:
            raise NotPermittedError(
                f"{subject}: {dense.text}; have it approved and give --approved-by"
            )
        left = self._quota_left()
        if left is not None and len(needed) > left:
            raise NotPermittedError(
                f"{subject}: needs {len(needed)} evaluations, {left} are left in this epoch"
            )

    def _match(self, rows: NDArray[np.int64]) -> Lights:
        now, epoch = self._lookup.clock.now(), self._lookup.epoch()
        if epoch.manifest.epoch != self._cache.epoch:
            raise WrongEpochError(
                "screening: another epoch came into force meanwhile; run it again"
            )
        tables = self._lookup.tables(epoch)
        sources = self._desk.policy.sources(
            epoch.manifest, tables, own=self._lookup.trust.name, now=now
        )
        return match_all(self._cache, rows, tables, sources, use=self._use, month=month_of(now))

    def _conclude(self, positions: NDArray[np.int64], lights: Lights, evaluated: int) -> Summary:
        colours = self._colours(positions, lights)
        lit = positions >= 0
        counts: dict[str, int] = {COLOURS[code]: n for code, n in _counts(colours[lit])}
        counts[MALFORMED] = self._column.malformed
        counts[SHARED] = int(self._shared.sum())
        first_at = self._first_at(positions)
        first = np.sort(first_at[first_at >= 0])
        changes = LastLights(self._lookup.home, self._lookup.random).exchange(
            self._tokens[first], colours[first]
        )
        now = self._lookup.clock.now()
        for row, name in lights.canaries:
            at = self._column.rows[first_at[row]] + 1
            subject = f"screening of {self._name}, row {at}"
            self._desk.watch.note_canary(name, now=now, subject=subject)
        return Summary(evaluated, counts, changes, lights.common.absent, self._problem)

    def _first_at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where each row of the cache first occurs in the file, or -1."""
        found = np.full(len(self._cache) + 1, -1, np.int64)
        found[positions[::-1]] = np.arange(len(positions) - 1, -1, -1)
        return found[:-1]  # the last one stood for rows without a light

    def _colours(self, positions: NDArray[np.int64], lights: Lights) -> NDArray[np.uint8]:
        """Return each valid row's position in `COLOURS`."""
        table = np.full(len(self._cache) + 1, COLOURS.index(lights.common.colour), np.uint8)
        for row, light in lights.special.items():
            table[row] = COLOURS.index(light.colour)
        return table[positions]

    def _frame(
        self, positions: NDArray[np.int64], lights: Lights, *, keep_identifier: bool
    ) -> pl.DataFrame:
        """Return one line for every row of the file, in its order."""
        size = len(self._column.values)
        words = np.array([*COLOURS, None], dtype=object)
        codes = np.full(size, len(COLOURS), np.int64)
        codes[self._column.rows] = np.where(
            positions >= 0, self._colours(positions, lights), len(COLOURS)
        )
        reasons = np.full(size, MALFORMED, dtype=object)
        reasons[self._column.rows] = np.where(self._shared, SHARED, "")
        special = np.isin(positions, np.fromiter(lights.special, np.int64, len(lights.special)))
        for at in np.flatnonzero(special).tolist():
            light = lights.special[int(positions[at])]
            reasons[self._column.rows[at]] = ";".join(reason.code for reason in light.reasons)
        columns = {
            "row": pl.Series(np.arange(1, size + 1)),
            "light": pl.Series(words[codes].tolist(), dtype=pl.String),
            "reasons": pl.Series(reasons.tolist(), dtype=pl.String),
        }
        if keep_identifier:
            columns["identifier"] = self._column.values
        return pl.DataFrame(columns)

    def _note(self, requests: list[str], approved_by: str) -> None:
        self._desk.journal.append(
            CheckEntry(
                at=self._lookup.clock.now(),
                purpose=Purpose.SCREENING,
                channel=f"approved by {approved_by}" if approved_by else "",
                case="",
                kinds=[self._kind.value],
                requests=requests,
                colour="",
                reasons=[],
            )
        )


def _counts(codes: NDArray[np.uint8]) -> list[tuple[int, int]]:
    values, counts = np.unique(codes, return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


def _write(out: Path, frame: pl.DataFrame) -> None:
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    try:
        if out.suffix == ".csv":
            frame.write_csv(draft)
        else:
            frame.write_parquet(draft)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
