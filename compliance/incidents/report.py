"""The report of an incident to one of those who must be told: JSON, or Markdown for people.

It says what happened, what is affected, which clocks run and how they stand, what was done in
order, who was told what, and which entries of the organisation's log vouch for all this. It
names no person; staff stand under the pseudonyms of the log.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from compliance.agreement.vocabulary import Title
from compliance.incidents.clocks import Clock, ClockState, Deadline
from compliance.incidents.evidence import LogEvidence
from compliance.incidents.incident import Event, Incident, Kind
from compliance.policy.actors import TAIPEI_OFFSET_S

FORMAT = "lianfang/incidents/report/v1"
_SHORT = 8
_OFFSETS = {"tw": TAIPEI_OFFSET_S}

_WORDS = {
    "title": Title("Incident report", "個資事故通報"),
    "to": Title("To", "通報對象"),
    "from": Title("From", "通報機構"),
    "sector": Title("Sector", "業別"),
    "number": Title("Incident no.", "事故編號"),
    "noticed": Title("Noticed", "知悉時間"),
    "written": Title("Report written", "製作時間"),
    "due": Title("Due", "通報期限"),
    "source": Title("Rule", "依據"),
    "what": Title("What happened", "事故經過"),
    "affected": Title("What is affected", "影響範圍"),
    "flows": Title("Data flows", "資料流向"),
    "data_sets": Title("Data sets", "資料集"),
    "records": Title("Records", "資料筆數"),
    "persons": Title("Persons", "當事人數"),
    "special": Title("Special categories", "特種個資類別"),
    "alarms": Title("Alarms", "相關警示"),
    "unknown": Title("not known yet", "尚待查明"),
    "none": Title("none", "無"),
    "clocks": Title("Whom it must be told", "應通報對象與期限"),
    "state": Title("State", "狀態"),
    "timeline": Title("In order of time", "處理時序"),
    "told": Title("Who was told what", "通報紀錄"),
    "closing": Title("Finding", "調查結果"),
    "untold": Title("Why others were not told", "未通報理由"),
    "evidence": Title("Evidence in the log", "稽核紀錄佐證"),
    "entries": Title("Entries that show what happened", "事故相關紀錄"),
    "entry": Title("entry", "紀錄"),
    "checkpoint": Title("Signed checkpoint", "簽章檢查點"),
    "to_be_confirmed": Title("to be confirmed in the gazette", "待公報確認"),
    "no_person": Title(
        "This report names no person. Staff stand under the pseudonyms of the log.",
        "本通報不含任何自然人姓名或識別資料，人員以稽核紀錄之化名表示。",
    ),
}
_STATES = {
    ClockState.DUE: Title("due", "期限內"),
    ClockState.OVERDUE: Title("OVERDUE", "已逾期"),
    ClockState.TOLD: Title("told", "已通報"),
    ClockState.TOLD_LATE: Title("told late", "逾期通報"),
    ClockState.NOT_TOLD: Title("not told", "未通報"),
}
_KINDS = {
    Kind.OPENED: Title("opened", "立案"),
    Kind.NOTED: Title("noted", "處理"),
    Kind.TOLD: Title("told", "通報"),
    Kind.CLOSED: Title("closed", "結案"),
}


def report_fields(
    incident: Incident,
    deadline: Deadline,
    evidence: LogEvidence,
    *,
    sector: Title,
    organisation: Title,
    now: int,
) -> dict[str, Any]:
    """Return the report for machines; texts stand as they were written, words in both languages.

    Args:
        sector, organisation: their names for people.
    """
    clocks = incident.clocks(now)
    closing = incident.closing
    return {
        "format": FORMAT,
        "incident": incident.number,
        "organisation": {
            "name": incident.organisation, "en": organisation.en, "zh": organisation.zh,
        },
        "sector": {"id": incident.sector, "en": sector.en, "zh": sector.zh},
        "profile": incident.profile.format(),
        "written": now,
        "noticed": incident.noticed,
        "to": next(clock.fields() for clock in clocks if clock.deadline.id == deadline.id),
        "what": incident.what,
        "affected": incident.affected.fields(),
        "clocks": [clock.fields() for clock in clocks],
        "timeline": [_event_fields(event) for event in incident.events],
        "closed": None
        if closing is None
        else {"finding": closing.text, "reason": closing.reason, "untold": closing.untold},
        "log": {
            "checkpoints": evidence.checkpoints,
            "proofs": [
                {"log": place.origin, "index": place.index, "proof": proof}
                for place, proof in sorted(evidence.proofs.items())
            ],
        },
    }  # fmt: skip


def report_text(
    incident: Incident,
    deadline: Deadline,
    evidence: LogEvidence,
    *,
    sector: Title,
    organisation: Title,
    now: int,
    language: str,
) -> str:
    """Return the report for people, in Markdown, in `zh` or in English."""
    page = _Page(incident, language)
    clocks = incident.clocks(now)
    clock = next(clock for clock in clocks if clock.deadline.id == deadline.id)
    lines = [
        f"# {page.word('title')} {incident.number}",
        "",
        page.item("to", deadline.whom.text(language)),
        page.item("due", f"{page.time(clock.due)} ({page.state(clock)})"),
        page.item("source", page.source(deadline)),
        page.item("from", f"{organisation.text(language)} ({incident.organisation})"),
        page.item("sector", sector.text(language)),
        page.item("noticed", page.time(incident.noticed)),
        page.item("written", page.time(now)),
        *page.part("what", [incident.what]),
        *page.part("affected", page.affected()),
        *page.part("clocks", page.clocks(clocks)),
        *page.part("timeline", page.timeline()),
        *page.part("told", page.told()),
        *page.closing(),
        *page.part("evidence", page.evidence(evidence)),
        "",
        page.word("no_person"),
        "",
    ]
    return "\n".join(lines)


class _Page:
    """Writes the parts of one report in one language."""

    def __init__(self, incident: Incident, language: str) -> None:
        self._incident = incident
        self._language = language
        offset = timedelta(seconds=_OFFSETS.get(incident.profile.id, 0))
        self._zone = timezone(offset) if offset else UTC

    def word(self, name: str) -> str:
        return _WORDS[name].text(self._language)

    def item(self, name: str, text: str) -> str:
        return f"- **{self.word(name)}**: {text}"

    def part(self, name: str, lines: list[str]) -> list[str]:
        return ["", f"## {self.word(name)}", "", *(lines or [self.word("none")])]

    def time(self, at: int) -> str:
        return datetime.fromtimestamp(at, self._zone).strftime("%Y-%m-%d %H:%M %z")

    def state(self, clock: Clock) -> str:
        return _STATES[clock.state].text(self._language)

    def source(self, deadline: Deadline) -> str:
        doubt = f" ({self.word(deadline.standing.value)})" if deadline.standing in _WORDS else ""
        return f"{deadline.source}{doubt}"

    def affected(self) -> list[str]:
        found = self._incident.affected
        lists = [
            (name, ", ".join(getattr(found, name)))
            for name in ("data_sets", "flows", "special", "alarms")
        ]
        numbers = [
            (name, self.word("unknown") if count is None else f"{count:,}")
            for name, count in (("records", found.records), ("persons", found.persons))
        ]
        return [self.item(name, text or self.word("none")) for name, text in (*lists, *numbers)]

    def clocks(self, clocks: tuple[Clock, ...]) -> list[str]:
        rows = [
            [
                clock.deadline.whom.text(self._language),
                f"{clock.deadline.hours} h, {clock.deadline.when.text(self._language)}",
                self.time(clock.due),
                self.state(clock) + (f" {self.time(clock.told_at)}" if clock.told_at else ""),
                self.source(clock.deadline),
            ]
            for clock in clocks
        ]
        head = [self.word(name) for name in ("to", "clocks", "due", "state", "source")]
        return _table(head, rows)

    def timeline(self) -> list[str]:
        return [
            f"- {self.time(event.at)} **{_KINDS[event.kind].text(self._language)}** "
            f"({event.by.hex()[:_SHORT]}; {event.place.origin} {self.word('entry')} "
            f"{event.place.index}): {event.text}"
            for event in self._incident.events
        ]

    def told(self) -> list[str]:
        told = [event for event in self._incident.events if event.kind is Kind.TOLD]
        return [f"- {self.time(item.told_at)} {item.whom}: {item.text}" for item in told]

    def closing(self) -> list[str]:
        closing = self._incident.closing
        if closing is None:
            return []
        untold = [self.item("untold", closing.untold)] if closing.untold else []
        return self.part("closing", [closing.text, "", *untold])

    def evidence(self, evidence: LogEvidence) -> list[str]:
        spans = self._incident.affected.evidence
        lines = [self.item("entries", f"{span.log} {span.first}-{span.last}") for span in spans]
        for name, note in sorted(evidence.checkpoints.items()):
            lines += ["", f"{self.word('checkpoint')} {name}:", "", "```", note.rstrip(), "```"]
        return lines


def _event_fields(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": event.kind.value,
        "at": event.at,
        "by": event.by.hex(),
        "text": event.text,
        "log": event.place.origin,
        "entry": event.place.index,
    }
    if event.kind is Kind.TOLD:
        found |= {"whom": event.whom, "told_at": event.told_at, "clock": event.deadline}
    return found


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines]
