"""The scores that runs left with the label holder, found by the row of the customer table.

    runs/<run>/taken.npy     the rows of the table that took part, in order
    runs/<run>/refined.npy   a score for each of them; logit.npy the joint part of it

A score belongs to a row of the table as it was. If the table was written again since, its rows
may be other people: then nothing is attributed, told or erased, because a score shown to the
wrong person is a breach. Remove the run instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from clients.node.files import load_array, store_array
from clients.node.home import Home
from clients.node.table import load_table
from compliance.agreement.vocabulary import Title
from compliance.rights.stores import Finding, Subject
from protocols.identifiers import IdentifierKind, InvalidIdentifierError, canonicalize

_SCORES = ("refined.npy", "logit.npy")
_RUN, _SCORE = Title("run", "執行計畫"), Title("score", "評分")


@dataclass(frozen=True, slots=True)
class ScoreRecords:
    """The scores of one node."""

    home: Home
    name: ClassVar[str] = "runs/scores"
    what: ClassVar[Title] = Title("scores about you", "關於您之評分")
    method: ClassVar[Title] = Title(
        "overwritten; the file was written anew and the old one deleted", "覆寫後重寫檔案並刪除舊檔"
    )

    def find(self, subject: Subject) -> list[Finding]:
        """Return the person's score of each run."""
        return [
            Finding(
                int((folder / _SCORES[0]).stat().st_mtime),
                {_RUN: folder.name, _SCORE: f"{load_array(folder / _SCORES[0])[place]:.4f}"},
            )
            for folder, places in self._runs(subject)
            for place in places
        ]

    def erase(self, subject: Subject) -> int:
        """Put no number in place of the person's scores."""
        erased = 0
        for folder, places in self._runs(subject):
            erased += len(places)
            # The refined score last: by it the others are found again after a crash.
            for name in reversed(_SCORES):
                if places and (folder / name).exists():
                    values = np.array(load_array(folder / name), np.float64)
                    values[places] = np.nan
                    store_array(folder / name, values)
        return erased

    def _runs(self, subject: Subject) -> Iterator[tuple[Path, list[int]]]:
        """Yield each run whose scores can be attributed, with the person's places in it."""
        config = self.home.config()
        runs = sorted((self.home.root / "runs").glob(f"*/{_SCORES[0]}"))
        attributable = [
            path.parent
            for path in runs
            if (path.parent / "taken.npy").exists()
            and config.table.exists()
            and config.table.stat().st_mtime <= (path.parent / "taken.npy").stat().st_mtime
        ]
        if not attributable:
            return
        contract = self.home.contract()
        table = load_table(config.table, contract, held_out_column=config.held_out_column)
        kind = IdentifierKind(contract.identifier_kind)
        rows = [
            row
            for row, value in enumerate(table.identifiers)
            if _canonical(kind, value) in subject.canonical
        ]
        for folder in attributable:
            taken, scores = load_array(folder / "taken.npy"), load_array(folder / _SCORES[0])
            places = np.flatnonzero(np.isin(taken, rows)).tolist()
            yield folder, [place for place in places if not np.isnan(scores[place])]


def _canonical(kind: IdentifierKind, value: str) -> bytes:
    try:
        return canonicalize(kind, value)
    except InvalidIdentifierError:
        return b""  # a malformed row is nobody's
