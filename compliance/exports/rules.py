"""The rules by which a log is searched for what an officer should look at; thresholds are data.

    rate        more acts, or items, of one actor or organisation within a window than `most`
    refused     at least `least` acts within a day's window, of which more than `share` refused
    hours       an act outside of the hours from `from_hour` to `until_hour`, in local time
    backdated   an entry that says it is more than `most_s` older than one before it

    spread      more than `most` actors at one subject within a window
    reach       more than `most` subjects of one actor or organisation within a window
    caseless    an act behind which no case stands
    unfollowed  an act after which nothing of `then` comes within `within_s`, about the same
                case or subject

`among` narrows a rule to verbs, acts, outcomes and policies that decided; what it leaves out,
it does not narrow. The file that comes with the program is `rules.json`; an officer can give
another one. An entry names no subject and no case: the last four look into private parts,
which only the owner of the log can, and find nothing where there are none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any, ClassVar, TypeAlias

from compliance.agreement.fields import Fields, defect
from compliance.agreement.vocabulary import Title
from protocols.codec import parse_json
from protocols.tlog.entry import Entry, Outcome, Verb

FORMAT = "lianfang/exports/rules/v1"
MAX_RULES_SIZE = 1 << 20
_WHERE = "rules"
_ID = re.compile(r"(?=.{1,64}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
_MAX_SPAN_S = 10 * 366 * 86_400
_HOURS = 24


class By(StrEnum):
    """Whose acts are added up."""

    ACTOR = "actor"
    ORGANISATION = "organisation"


class Measure(StrEnum):
    """What is added up: entries, or the items that they count."""

    ACTS = "acts"
    ITEMS = "items"


class Link(StrEnum):
    """What two entries must share to be about the same."""

    CASE = "case"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Among:
    """Which entries a rule looks at; what is empty does not narrow."""

    verbs: frozenset[Verb] = frozenset()
    acts: frozenset[str] = frozenset()
    outcomes: frozenset[Outcome] = frozenset()
    policies: frozenset[str] = frozenset()

    def covers(self, entry: Entry) -> bool:
        """Whether the rule looks at an entry."""
        return (
            (not self.verbs or entry.verb in self.verbs)
            and (not self.acts or entry.act in self.acts)
            and (not self.outcomes or entry.outcome in self.outcomes)
            and (not self.policies or not self.policies.isdisjoint(entry.policies))
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """What all rules have in common."""

    kind: ClassVar[str]
    needs_parts: ClassVar[bool] = False

    id: str
    title: Title
    among: Among
    by: By

    def covers(self, entry: Entry) -> bool:
        """Whether the rule has to see an entry."""
        return self.among.covers(entry)


@dataclass(frozen=True, slots=True)
class Rate(Rule):
    """More than `most` within a sliding window."""

    kind: ClassVar[str] = "rate"

    measure: Measure
    window_s: int
    most: int


@dataclass(frozen=True, slots=True)
class Refused(Rule):
    """Too large a share of refusals within one of the windows that follow each other."""

    kind: ClassVar[str] = "refused"

    window_s: int
    least: int
    share: float


@dataclass(frozen=True, slots=True)
class Hours(Rule):
    """Outside of the hours; `offset_s` is local time less UTC."""

    kind: ClassVar[str] = "hours"

    from_hour: int
    until_hour: int
    offset_s: int


@dataclass(frozen=True, slots=True)
class Backdated(Rule):
    """Older by more than `most_s` than an entry before it in the log."""

    kind: ClassVar[str] = "backdated"

    most_s: int


@dataclass(frozen=True, slots=True)
class Spread(Rule):
    """More than `most` actors at one subject within a sliding window."""

    kind: ClassVar[str] = "spread"
    needs_parts: ClassVar[bool] = True

    window_s: int
    most: int


@dataclass(frozen=True, slots=True)
class Reach(Rule):
    """More than `most` subjects of one actor, or organisation, within a sliding window."""

    kind: ClassVar[str] = "reach"
    needs_parts: ClassVar[bool] = True

    window_s: int
    most: int


@dataclass(frozen=True, slots=True)
class Caseless(Rule):
    """An act whose private part names no case."""

    kind: ClassVar[str] = "caseless"
    needs_parts: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Unfollowed(Rule):
    """An act after which nothing of `then` comes within `within_s`, about the same."""

    kind: ClassVar[str] = "unfollowed"
    needs_parts: ClassVar[bool] = True

    then: Among
    link: Link
    within_s: int

    def covers(self, entry: Entry) -> bool:
        """Whether the rule has to see an entry: what it is about, and what may follow it."""
        return self.among.covers(entry) or self.then.covers(entry)


AnyRule: TypeAlias = Rate | Refused | Hours | Backdated | Spread | Reach | Caseless | Unfollowed
KINDS = (
    "rate", "refused", "hours", "backdated", "spread", "reach", "caseless", "unfollowed",
)  # fmt: skip
_COMMON = {"id", "kind", "en", "zh", "among", "by"}


def parse_rules(data: bytes) -> tuple[AnyRule, ...]:
    """Read a file of rules.

    Raises:
        MalformedMessageError: names field, rule and cure.
    """
    if len(data) > MAX_RULES_SIZE:
        raise defect(_WHERE, "over 1 MiB", "split the file")
    whole = Fields.of(parse_json(data, _WHERE), {"format", "rules"}, _WHERE)
    if whole.values["format"] != FORMAT:
        raise defect(f"{_WHERE}.format", f"must be {FORMAT}")
    items = whole.items("rules", least=1, most=256)
    found = tuple(_rule(item, f"{_WHERE}.rules[{at}]") for at, item in enumerate(items))
    if len({rule.id for rule in found}) != len(found):
        raise defect(f"{_WHERE}.rules", "two have the same id", "rename one")
    return found


def shipped_rules() -> tuple[AnyRule, ...]:
    """Return the rules that come with the program."""
    return parse_rules(files(__package__).joinpath("rules.json").read_bytes())


def _rule(value: Any, path: str) -> AnyRule:
    kind = value.get("kind") if isinstance(value, dict) else None
    match kind:
        case "rate":
            fields = Fields.of(value, _COMMON | {"measure", "window_s", "most"}, path)
            measure, window = fields.choice("measure", Measure), _span(fields, "window_s")
            return Rate(*_common(fields), measure, window, fields.whole("most"))
        case "refused":
            fields = Fields.of(value, _COMMON | {"window_s", "least", "share"}, path)
            least, share = fields.whole("least", least=1), fields.number("share", most=1.0)
            return Refused(*_common(fields), _span(fields, "window_s"), least, share)
        case "hours":
            names = {"from_hour", "until_hour", "offset_s"}
            fields = Fields.of(value, _COMMON | names, path)
            start = fields.whole("from_hour", most=_HOURS)
            until = fields.whole("until_hour", most=_HOURS)
            if start >= until:
                raise defect(path, "from_hour must be before until_hour")
            return Hours(*_common(fields), start, until, _offset(fields))
        case "backdated":
            fields = Fields.of(value, _COMMON | {"most_s"}, path)
            return Backdated(*_common(fields), fields.whole("most_s", most=_MAX_SPAN_S))
        case _:
            return _owner_rule(value, kind, path)


def _owner_rule(value: Any, kind: object, path: str) -> AnyRule:
    """Read a rule that looks into private parts."""
    match kind:
        case "spread" | "reach":
            fields = Fields.of(value, _COMMON | {"window_s", "most"}, path)
            if kind == "reach":
                return Reach(*_common(fields), _span(fields, "window_s"), fields.whole("most"))
            if fields.choice("by", By) is not By.ORGANISATION:
                raise defect(fields.at("by"), "must be organisation: it is about many actors")
            return Spread(*_common(fields), _span(fields, "window_s"), fields.whole("most"))
        case "caseless":
            return Caseless(*_common(Fields.of(value, _COMMON, path)))
        case "unfollowed":
            fields = Fields.of(value, _COMMON | {"then", "link", "within_s"}, path)
            then, link = _among(fields, "then"), fields.choice("link", Link)
            return Unfollowed(*_common(fields), then, link, _span(fields, "within_s"))
        case _:
            raise defect(path, f"kind must be one of {', '.join(KINDS)}")


def _common(fields: Fields) -> tuple[str, Title, Among, By]:
    name = fields.matched("id", _ID, "words of a-z and 0-9 with single '-' between them")
    title = Title(fields.text("en"), fields.text("zh"))
    return name, title, _among(fields, "among"), fields.choice("by", By)


def _among(fields: Fields, name: str) -> Among:
    among = fields.values[name]
    parts = Among.__dataclass_fields__.keys()
    if not isinstance(among, dict) or not parts >= among.keys():
        raise defect(fields.at(name), "may have verbs, acts, outcomes and policies only")
    given = Fields({part: among.get(part, []) for part in parts}, fields.at(name))
    return Among(
        frozenset(given.choices("verbs", Verb)),
        frozenset(given.texts("acts")),
        frozenset(given.choices("outcomes", Outcome)),
        frozenset(given.texts("policies")),
    )


def _span(fields: Fields, name: str) -> int:
    return fields.whole(name, least=1, most=_MAX_SPAN_S)


def _offset(fields: Fields) -> int:
    value = fields.values["offset_s"]
    if not isinstance(value, int) or isinstance(value, bool) or not -43_200 <= value <= 50_400:  # noqa: PLR2004 - UTC-12 to UTC+14
        raise defect(fields.at("offset_s"), "must be seconds from UTC-12 to UTC+14")
    return value
