"""All that an owner holds about a person, in one file, in words, in both languages.

Sections are the entries of the own log about the person, its requests, and one for every
store. A section may be withheld on a ground of the profile: the file then names the ground
and its article, and not how much there was.

Privacy:
    The file is for the person alone. Staff stand in it as pseudonyms; the reason and the
    decision record of an entry, which may speak of others, do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compliance.agreement.vocabulary import Title, title_of
from compliance.log.errors import PartErasedError
from compliance.log.storage import Place
from compliance.rights.case import Case
from compliance.rights.kinds import WORKING, Kind
from compliance.rights.service import SEARCH, Rights, Who
from compliance.rights.stores import Finding, Subject, SubjectRecords
from compliance.rights.terms import Refusal, Terms, terms_of
from compliance.rights.words import ACTS, ANSWERS, KINDS, LANGUAGES, OUTCOMES, STATES, time_text
from protocols.errors import OutOfTurnError, UnsupportedParameterError
from protocols.tlog.entry import Entry, Verb

LOG, REQUESTS = "log", "requests"
_BASE = {
    LOG: Title("What was done with your data", "對您資料之處理與利用"),
    REQUESTS: Title("Your requests", "您的請求"),
}
_NOTHING = Title("Nothing is held here.", "無資料。")
_WITHHELD = Title("Withheld", "不予提供")
_WHEN, _WHAT = Title("when", "時間"), Title("what", "事項")
_BY, _FOR = Title("by (pseudonym)", "經辦（代號）"), Title("purpose", "目的")
_TO, _RESULT = Title("given to", "提供對象"), Title("result", "結果")
_CASE = Title("case", "案件")


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the answer.

    Args:
        withheld: the ground on which it is not given; its findings are then empty.
    """

    name: str
    title: Title
    findings: tuple[Finding, ...] = field(repr=False)
    withheld: Refusal | None


@dataclass(frozen=True, slots=True)
class Account:
    """What is held about the person of a request."""

    owner: str
    case: Case
    made_at: int
    offset_s: int
    sections: tuple[Section, ...]

    def text(self) -> str:
        """Write the account in both languages."""
        return "\n".join(self._text(language) for language in LANGUAGES)

    def _text(self, language: str) -> str:
        heading = _HEADING.text(language).format(owner=self.owner, number=self.case.number)
        at = time_text(self.made_at, self.offset_s)
        lines = [f"# {heading}", "", _AS_OF.text(language).format(at=at), ""]
        for section in self.sections:
            lines += [f"## {section.title.text(language)}", ""]
            lines += [*self._lines(section, language), ""]
        return "\n".join(lines)

    def _lines(self, section: Section, language: str) -> list[str]:
        if section.withheld is not None:
            ground = section.withheld
            why = f"{ground.title.text(language)} ({ground.source}; {ground.code})"
            return [f"{_WITHHELD.text(language)}: {why}"]
        if not section.findings:
            return [_NOTHING.text(language)]
        return [self._line(finding, language) for finding in section.findings]

    def _line(self, finding: Finding, language: str) -> str:
        facts = {_WHEN: time_text(finding.at, self.offset_s), **finding.facts}
        told = [f"{name.text(language)}: {value}" for name, value in facts.items() if value]
        return "- " + "; ".join(_in_language(text, language) for text in told)


_HEADING = Title(
    "Data about you at {owner} (request {number})", "{owner} 所持有關於您之資料（請求 {number}）"
)
_AS_OF = Title("As of {at}.", "截至 {at}。")
# Facts that differ by language are written `zh|en` by `both`.
_SPLIT = "\u241f"


def both(title: Title) -> str:
    """Return a fact that is written in the language of the text around it."""
    return f"{_SPLIT}{title.zh}{_SPLIT}{title.en}{_SPLIT}"


def _in_language(text: str, language: str) -> str:
    parts = text.split(_SPLIT)
    keep = 0 if language == "zh" else 1
    return "".join(part for at, part in enumerate(parts) if at % 3 == 0 or at % 3 == 1 + keep)


def account(
    rights: Rights,
    stores: Sequence[SubjectRecords],
    number: str,
    who: Who,
    *,
    withhold: Mapping[str, str],
) -> Account:
    """Collect what is held about the person of a request, after the search was entered.

    Args:
        withhold: codes of grounds by name of section.

    Raises:
        OutOfTurnError: no access request in work.
        UnsupportedParameterError: no such section, or no such ground.
        NotPermittedError: who acts may not search.
    """
    case = rights.file.case(number)
    if case.kind is not Kind.ACCESS or case.state not in WORKING:
        raise OutOfTurnError(f"request: is {case.kind}, {case.state}; needs an access in work")
    terms = terms_of(case.kind, case.profile)
    titles = _BASE | {store.name: store.what for store in stores}
    grounds = _grounds(terms, withhold, titles)
    rights.act_on(number, SEARCH, Verb.CONSULT, who)
    subject = rights.subject(number)
    found = {
        LOG: _entries(rights, subject),
        REQUESTS: _requests(rights, subject),
        **{store.name: store.find(subject) for store in stores},
    }
    sections = tuple(
        Section(name, titles[name], () if name in grounds else tuple(items), grounds.get(name))
        for name, items in found.items()
    )
    offset = terms.calendar.offset_s
    return Account(rights.office.name, case, rights.now, offset, sections)


def _grounds(
    terms: Terms, withhold: Mapping[str, str], titles: Mapping[str, Title]
) -> dict[str, Refusal]:
    if unknown := sorted(set(withhold) - set(titles)):
        raise UnsupportedParameterError(
            f"withhold: {unknown[0][:32]} is no section; take one of {', '.join(titles)}"
        )
    return {name: terms.refusal(code) for name, code in withhold.items()}


def _entries(rights: Rights, subject: Subject) -> list[Finding]:
    places: dict[tuple[str, int], Place] = {}
    for token in subject.tokens:
        for place in rights.office.parts.find_subject(token):
            places[place.origin, place.index] = place
    found = [_entry(rights, places[key]) for key in sorted(places)]
    return [finding for finding in found if finding is not None]


def _entry(rights: Rights, place: Place) -> Finding | None:
    office = rights.office
    (data,) = office.storage.entries(place.origin, place.index, place.index + 1)
    entry = Entry.decode(data)
    try:
        part = office.parts.read(place, entry.commitment)
    except PartErasedError:
        return None  # erased by another process after it was found
    act = ACTS.get(entry.act, Title(entry.act, entry.act))
    purpose = Title(title_of(entry.purpose, "en"), title_of(entry.purpose, "zh"))
    return Finding(
        entry.time,
        {
            _WHAT: both(act),
            _BY: entry.actor.hex()[:8],
            _FOR: both(purpose),
            _TO: ", ".join(entry.recipients),
            _CASE: part.case,
            _RESULT: both(OUTCOMES[entry.outcome.value]),
        },
    )


def _requests(rights: Rights, subject: Subject) -> list[Finding]:
    return [
        Finding(
            case.received_at,
            {
                _CASE: case.number,
                _WHAT: both(KINDS[case.kind]),
                _RESULT: both(STATES[case.state] if case.answer is None else ANSWERS[case.answer]),
            },
        )
        for case in rights.file.about(subject.tokens)
    ]
