"""What `lianfang node map` says: of a draft, of a proof, and the table of counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clients.node.mapping.drafting import Draft
from clients.node.mapping.proving import ColumnProof, Proof

_BAR = 8
_PAGE = 140
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def draft_fields(draft: Draft) -> dict[str, Any]:
    """Return what a draft has and leaves out, for machines."""
    return {
        "columns": [column.name for column in draft.contract.columns],
        "identifier": draft.contract.identifier,
        "identifier_kind": draft.contract.identifier_kind,
        "left_out": [
            {"column": one.column, "reason": one.reason, "cure": one.cure} for one in draft.left_out
        ],
        "notes": list(draft.notes),
    }


def draft_text(draft: Draft, path: Path) -> str:
    """Say what a draft has and leaves out, and what its editor is to do."""
    count = len(draft.contract.columns)
    lines = [f"Drafted {count} columns in {path}; {len(draft.left_out)} were left out."]
    lines += [
        f"  {one.column}: {one.reason}" + (f"; {one.cure}" if one.cure else "")
        for one in draft.left_out
    ]
    lines += [f"  note: {note}" for note in draft.notes]
    lines.append(
        "Edit it: all parties will read these ranges and levels. The ranges are round and wider "
        "than the data, because an exact minimum or maximum is the value of one person; set them "
        "to what you know without looking at rows."
    )
    return "\n".join(lines)


def proof_text(sample: Proof, whole: Proof) -> str:
    """Say what the proof of a sample and of the whole came to."""
    if whole.holds:
        return (
            f"A sample of {sample.rows:,} rows and all {whole.rows:,} rows keep the contract."
            f"{_identifiers_text(whole)}"
        )
    seen = "" if sample.holds else f" (the sample of {sample.rows:,} shows it already)"
    return f"{broken_text(whole)}{seen}{_identifiers_text(whole)}"


def broken_text(proof: Proof) -> str:
    """Say which columns do not keep a contract, and how to mend them."""
    if proof.rows == 0:
        return "The table has no rows: the contract does not hold."
    lines = [f"{len(proof.broken)} columns do not keep the contract, of {proof.rows:,} rows:"]
    return "\n".join([*lines, *(f"  {column.name}: {_trouble(column)}" for column in proof.broken)])


def _trouble(column: ColumnProof) -> str:
    """Say what breaks a column, with the cure."""
    said = [column.problem] if column.problem else []
    for count, what in (
        (column.unreadable, "rows are not readable as declared; correct the export"),
        (column.outside, f"rows are outside {column.declared}; clip them or agree a wider range"),
        (column.unknown, "rows have a level that is not agreed; map it or agree the level"),
        (column.missing * column.undeclared, "rows have no value; fill it or declare it missing"),
    ):
        said += [f"{count:,} {what}"] if count else []
    return "; ".join(said)


def _identifiers_text(proof: Proof) -> str:
    found = next((column for column in proof.columns if column.role == "identifier"), None)
    if found is None or not (found.malformed or found.duplicates or found.missing):
        return ""
    rules = "; ".join(f"{count:,} x {rule}" for rule, count in sorted(found.rules.items()))
    return (
        f"\nOf the identifiers {found.missing:,} are missing, {found.malformed:,} malformed and "
        f"{found.duplicates:,} double; a run leaves these rows out."
        + (f" By rule: {rules}." if rules else "")
    )


def draw(proof: Proof) -> None:
    """Write the table of counts, with a bar for the share of missing and of broken rows."""
    table = Table(title=f"{proof.rows:,} rows against the contract")
    for name in ("column", "declared"):
        table.add_column(name, no_wrap=True)
    for name in ("missing", "breaks the contract", "malformed", "double"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for item in proof.columns:
        table.add_row(
            item.name,
            f"{item.role} {item.declared}",
            f"{item.missing:,} {_bar(item.missing, item.rows)}",
            f"{item.broken:,} {_bar(item.broken, item.rows)}",
            f"{item.malformed:,}" if item.role == "identifier" else "",
            f"{item.duplicates:,}" if item.role == "identifier" else "",
            "holds" if item.holds else "BREAKS",
        )
    # A heading of somebody's file is text, never markup.
    console = Console(markup=False)
    if not console.is_terminal:
        console = Console(markup=False, width=_PAGE)
    console.print(table)


def _bar(count: int, rows: int) -> str:
    """Return a bar in eighths of a character; whatever there is at all is seen."""
    eighths = min(8 * _BAR, -(-8 * _BAR * count // rows)) if rows else 0
    drawn = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return drawn.ljust(_BAR, "·")
