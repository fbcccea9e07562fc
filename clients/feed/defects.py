"""What is wrong with a row of input, told without repeating anything of it.

A refused row never stops the others: it is listed by its number, the field, the rule that it
breaks and what to do, so that the list itself may be mailed around.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from compliance.files import write_atomically

SHOWN = 20
_HEADING = ("row", "field", "rule", "cure")


class DefectError(ValueError):
    """A field breaks a rule; its reader adds which field of which row."""

    def __init__(self, rule: str, cure: str) -> None:
        super().__init__(rule)
        self.rule = rule
        self.cure = cure


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """One defect of one row. Row 1 is the first row of data, or the first object of a bundle."""

    row: int
    field: str
    rule: str
    cure: str


def store_refusals(path: Path, refusals: Iterable[Refusal]) -> None:
    """Write the list as CSV, to be worked off in a spreadsheet."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_HEADING)
    writer.writerows((one.row, one.field, one.rule, one.cure) for one in refusals)
    # With a byte order mark, without which spreadsheets take UTF-8 for a local code page.
    write_atomically(path, text.getvalue().encode("utf-8-sig"))


def refusal_table(refusals: list[Refusal], *, shown: int = SHOWN) -> str:
    """Return the first refusals as a table of text."""
    rows = [_HEADING, *((str(one.row), one.field, one.rule, one.cure) for one in refusals[:shown])]
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    lines = [
        "  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False))])
        + f"  {row[3]}"
        for row in rows
    ]  # fmt: skip
    if len(refusals) > shown:
        lines.append(f"  and {len(refusals) - shown:,} more; --report FILE.csv writes them all")
    return "\n".join(lines)
