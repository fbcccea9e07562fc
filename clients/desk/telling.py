"""What the desk's commands print: lights in words, costs, states, progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clients.desk.desk import Finding
from clients.desk.screened import MALFORMED, SHARED, Preview, Summary
from protocols.lookup.light import Colour, Light
from protocols.lookup.wording import Language, shared_sentence, word_light, word_reason

_HOUR_S = 3600


def finding_fields(found: Finding, language: Language) -> dict[str, Any]:
    """Return a finding for machines; the words are in one language."""
    fields: dict[str, Any] = {
        "receipt": found.receipt_number,
        "at": found.at,
        "light": None,
        "shared": list(found.shared),
        "problem": found.problem,
        "sources": [
            {
                "contributor": source.contributor,
                "age_s": source.age_s,
                "freshness": source.freshness.value,
                "required": source.is_required,
            }
            for source in found.sources
        ],
    }
    if found.light is None:
        return fields
    words = word_light(found.light, language)
    return fields | {
        "light": found.light.colour.value,
        "shape": words.shape,
        "word": words.word,
        "sentence": words.sentence,
        "reasons": [
            {"code": reason.code, "text": word_reason(reason, language)}
            for reason in found.light.reasons
        ],
        "others": found.light.others,
        "reminders": list(words.reminders),
        "absent": list(found.light.absent),
    }


def finding_text(found: Finding, language: Language) -> str:
    """Put a finding on a slip."""
    lines = [shared_sentence(label, language) for label in found.shared]
    if found.light is not None:
        words = word_light(found.light, language)
        lines.append(f"{words.shape} {words.word}  {words.sentence}")
        lines += [f"  - {reason}" for reason in words.reasons]
        if found.light.others:
            more = {Language.EN: "  - and {} more", Language.ZH: "  - 另有{}項"}
            lines.append(more[language].format(found.light.others))
        if found.light.absent:
            absent = {
                Language.EN: f"  source missing: {', '.join(found.light.absent)}",
                Language.ZH: f"  資料來源缺漏：{'、'.join(found.light.absent)}",
            }
            lines.append(absent[language])
        lines += [f"  * {reminder}" for reminder in words.reminders]
    receipt = {Language.EN: "Receipt", Language.ZH: "查詢編號"}
    lines.append(f"{receipt[language]} {found.receipt_number}")
    return "\n".join(lines)


def preview_fields(preview: Preview) -> dict[str, Any]:
    """Return what a screening will cost, for machines."""
    fields = {name: getattr(preview, name) for name in Preview.__slots__ if name != "dense"}
    return fields | {"dense": None if preview.dense is None else preview.dense.text}


def preview_text(preview: Preview) -> str:
    """Say what a screening will cost."""
    left = "unknown, the hub is away" if preview.quota_left is None else f"{preview.quota_left:,}"
    lines = [
        f"{preview.rows:,} rows: {preview.valid:,} valid, {preview.malformed:,} malformed, "
        f"{preview.duplicates:,} repeated, {preview.shared:,} shared numbers",
        f"{preview.cached:,} rows need nothing; {preview.needed:,} evaluations are needed, "
        f"quota left {left}; about {preview.seconds} s",
    ]
    if preview.dense is not None:
        lines.append(f"ALARM: {preview.dense.text}")
    return "\n".join(lines)


def summary_fields(summary: Summary) -> dict[str, Any]:
    """Return what a screening found, for machines."""
    changes = [
        {"before": None if old is None else old.value, "now": new.value, "customers": count}
        for (old, new), count in sorted(summary.changes.items(), key=lambda item: str(item[0]))
    ]
    return {
        "evaluated": summary.evaluated,
        "lights": dict(summary.lights),
        "changes": changes,
        "absent": list(summary.absent),
        "problem": summary.problem,
    }


def summary_text(summary: Summary, out: Path) -> str:
    """Say what a screening found."""
    lines = [f"{summary.evaluated:,} evaluations"]
    lines += [
        f"  {name:<10} {summary.lights[name]:>12,}"
        for name in (*Colour, MALFORMED, SHARED)
        if summary.lights.get(name)
    ]
    old_ones = {pair: count for pair, count in summary.changes.items() if pair[0] is not None}
    lines.append(f"Changed since last time: {sum(old_ones.values()):,} customers")
    lines += [f"  {old} -> {new}: {count:,}" for (old, new), count in sorted(old_ones.items())]
    if summary.absent:
        lines.append(f"Tables missing or too old: {', '.join(summary.absent)}")
    if summary.problem:
        lines.append(f"Tables were not brought up to date: {summary.problem}")
    lines.append(f"Written to {out}")
    return "\n".join(lines)


def state_text(found: dict[str, Any]) -> str:
    """Say what a desk can do at the moment."""
    lines = [f"Epoch {found['epoch']}, ends in {found['ends_in_s'] // _HOUR_S} h"]
    for table in found["tables"]:
        role = "required" if table["required"] else "optional"
        if table["version"] is None:
            lines.append(f"  {table['contributor']:<16} no table yet ({role})")
        else:
            lines.append(
                f"  {table['contributor']:<16} {table['freshness']} ({role}): version "
                f"{table['version']}, {table['records']:,} records, "
                f"{table['age_s'] // _HOUR_S} h old"
            )
    quota = found["quota"]
    lines.append(f"{found['cached']:,} customers evaluated in this epoch")
    lines.append(
        f"Quota: {quota['left']:,} of {quota['quota']:,} left" if quota else found["problem"]
    )
    if found["alarms"]:
        lines.append(f"ALARMS: {found['alarms']}")
        lines += [f"  {alarm['subject']}: {alarm['text']}" for alarm in found["last_alarms"]]
    return "\n".join(lines)


def light_fields() -> list[dict[str, Any]]:
    """Return the meaning of every light, in both languages."""
    return [
        {
            "light": colour.value,
            "shape": word_light(Light(colour), Language.EN).shape,
            **{
                language.value: {
                    "word": word_light(Light(colour), language).word,
                    "sentence": word_light(Light(colour), language).sentence,
                    "reminders": list(word_light(Light(colour), language).reminders),
                }
                for language in Language
            },
        }
        for colour in Colour
    ]


def light_text() -> str:
    """Explain every light, in both languages."""
    lines = []
    for colour in Colour:
        for language in Language:
            words = word_light(Light(colour), language)
            lines.append(f"{words.shape} {words.word}  {words.sentence}")
            lines += [f"    {reminder}" for reminder in words.reminders]
    return "\n".join(lines)


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Show progress on standard error; gives what to call with the done and the total."""
    bar = Progress(
        TextColumn("evaluating"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task("evaluating", total=None, visible=False)

    def advance(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total, visible=True)

    with bar:
        yield advance
