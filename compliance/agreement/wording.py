"""An agreement in sentences that every party can read, and what changes from one to the next.

Each statement has a key that says what it is about, so that two versions can be compared
statement by statement: what is new, what is gone, what is different, and for whom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from compliance.agreement.document import Agreement
from compliance.agreement.profile import Profile, Standing
from compliance.agreement.vocabulary import Title, What, title_of

ALL = "*"
_NEEDS = Title("to be confirmed", "待確認")
_WHAT = {
    What.TRAINING: Title("training", "共同訓練"),
    What.LOOKUP: Title("blinded lookup", "盲化查詢"),
    What.REPORT: Title("fraud reports", "詐欺通報"),
    What.SCORE: Title("joint scores", "聯合評分"),
}


class Section(StrEnum):
    """The parts in which an agreement is read, in this order."""

    FRAME = "frame"
    PARTIES = "parties"
    FLOWS = "flows"
    DATA = "data"
    LIMITS = "limits"
    CONDUCT = "conduct"


SECTIONS = {
    Section.FRAME: Title("Agreement", "協議"),
    Section.PARTIES: Title("Parties", "當事人"),
    Section.FLOWS: Title("Who gives what to whom, and on which legal basis", "資料流向與法律依據"),
    Section.DATA: Title("Data used in training", "訓練所用資料"),
    Section.LIMITS: Title("Limits", "上限"),
    Section.CONDUCT: Title("Conduct", "執行方式"),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that is agreed.

    Args:
        key: what it is about; the same in every version. whom: the parties that it binds
            or serves, or `*`.
    """

    section: Section
    key: str
    whom: tuple[str, ...]
    label: str
    value: str
    amount: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions; a side is None where nothing was agreed."""

    whom: tuple[str, ...]
    label: str
    before: str | None
    after: str | None
    direction: str

    @property
    def kind(self) -> str:
        """Say whether it is new, gone or different."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


def statements(
    agreement: Agreement, language: str = "en", profile: Profile | None = None
) -> list[Statement]:
    """Return all that is agreed, in the order in which it is read.

    Args:
        language: `en` or `zh`; profile: gives legal bases and sectors their titles.
    """
    writer = _Writer(agreement, language, profile)
    return [*writer.frame(), *writer.flows(), *writer.data(), *writer.limits(), *writer.conduct()]


def compare(
    before: Agreement,
    after: Agreement,
    language: str = "en",
    profiles: tuple[Profile | None, Profile | None] = (None, None),
) -> list[Change]:
    """Return what changes from one version to another, and for whom."""
    old = {item.key: item for item in statements(before, language, profiles[0])}
    new = {item.key: item for item in statements(after, language, profiles[1])}
    found = []
    for key in [*new, *(key for key in old if key not in new)]:
        former, latter = old.get(key), new.get(key)
        if former is not None and latter is not None and former.value == latter.value:
            continue
        known = [item for item in (former, latter) if item is not None]
        whom = tuple(dict.fromkeys(name for item in known for name in item.whom))
        found.append(
            Change(
                whom,
                known[-1].label,
                None if former is None else former.value,
                None if latter is None else latter.value,
                _direction(former, latter),
            )
        )
    return found


def _direction(former: Statement | None, latter: Statement | None) -> str:
    if former is None or latter is None or former.amount is None or latter.amount is None:
        return ""
    return "more" if latter.amount > former.amount else "less"


def day(seconds: int) -> str:
    """Write a time as people do, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"


@dataclass(frozen=True, slots=True)
class _Writer:
    agreement: Agreement
    language: str
    profile: Profile | None

    def _say(self, en: str, zh: str) -> str:
        return zh if self.language == "zh" else en

    def _listed(self, names: tuple[str, ...]) -> str:
        return self._say(", ", "、").join(names)

    def _basis(self, name: str) -> str:
        found = None if self.profile is None else self.profile.basis(name)
        if found is None:
            return name
        parts = [found.title.text(self.language), found.source]
        if found.limits is not None:
            parts.append(found.limits.text(self.language))
        if found.standing is Standing.TO_BE_CONFIRMED:
            parts.append(_NEEDS.text(self.language))
        return f"{name} ({'; '.join(parts)})"

    def frame(self) -> Iterator[Statement]:
        """Say what it is, for how long, and who takes part."""
        found, everybody = self.agreement, (ALL,)
        period = f"{day(found.not_before)} – {day(found.not_after)}"
        purposes = self._listed(tuple(title_of(iri, self.language) for iri in found.purposes))
        for key, label, value in (
            ("title", self._say("title", "名稱"), found.title.text(self.language)),
            ("version", self._say("version", "版本"), str(found.version)),
            ("period", self._say("in force", "效期"), period),
            ("profile", self._say("jurisdiction", "法域"),
             f"{found.profile.id} {found.profile.digest.hex()[:12]}"),
            ("purposes", self._say("purposes", "目的"), purposes),
        ):  # fmt: skip
            yield Statement(Section.FRAME, key, everybody, label, value)
        for party in found.parties:
            value = self._say(", ", "、").join(
                (party.title.text(self.language), party.role, party.sector, party.country,
                 f"{self._say('key', '金鑰')} {party.identity.hex()}")
            )  # fmt: skip
            key = f"party {party.name}"
            yield Statement(Section.PARTIES, key, (party.name,), party.name, value)

    def flows(self) -> Iterator[Statement]:
        """Say who gives what to whom, and why both may."""
        for flow in self.agreement.flows:
            what = _WHAT[flow.what].text(self.language)
            purposes = self._listed(tuple(title_of(iri, self.language) for iri in flow.purposes))
            value = self._say(
                f"for {purposes}; gives under {self._basis(flow.basis)}; "
                f"receives under {self._basis(flow.recipient_basis)}",
                f"目的：{purposes}；提供依據：{self._basis(flow.basis)}；"
                f"取得依據：{self._basis(flow.recipient_basis)}",
            )
            label = f"{what}: {flow.source} → {flow.recipient}"
            whom = (flow.source, flow.recipient)
            yield Statement(Section.FLOWS, f"flow {flow.name}", whom, label, value)

    def data(self) -> Iterator[Statement]:
        """Say which columns and which special data are used."""
        for name, contract in self.agreement.contracts.items():
            yield Statement(
                Section.DATA,
                f"contract {name}",
                (name,),
                self._say(f"columns of {name}", f"{name} 的欄位"),
                f"{len(contract.columns)}: {self._listed(contract.columns)}"
                f"{self._say('; with a label', '；含標籤') if contract.label else ''}"
                f" [{contract.digest.hex()[:12]}]",
                len(contract.columns),
            )
        for item in self.agreement.special:
            label = self._say(f"special data of {item.party}", f"{item.party} 的特種個資")
            value = f"{item.category}: {self._basis(item.basis)}"
            key = f"special {item.party} {item.category}"
            yield Statement(Section.DATA, key, (item.party,), label, value)

    def limits(self) -> Iterator[Statement]:
        """Say how much may be learned and asked at most."""
        caps = self.agreement.caps
        amounts = [
            ("run", (ALL,), self._say("epsilon of one run", "單次執行 ε"), caps.run_epsilon),
            ("total", (ALL,), self._say("epsilon over all recipients", "全部接收者合計 ε"),
             caps.total_epsilon),
            ("delta", (ALL,), "delta", caps.delta),
            *((f"recipient {name}", (name,),
               self._say(f"epsilon towards {name}", f"對 {name} 的 ε"), epsilon)
              for name, epsilon in caps.recipients.items()),
        ]  # fmt: skip
        for key, whom, label, amount in amounts:
            yield Statement(Section.LIMITS, f"cap {key}", whom, label, f"{amount:g}", amount)
        for name, asker in self.agreement.askers.items():
            label = self._say(f"quota of {name} in an epoch", f"{name} 每期查詢額度")
            value = f"{asker.quota:,}"
            yield Statement(Section.LIMITS, f"quota {name}", (name,), label, value, asker.quota)
            for channel, purpose in asker.channels.items():
                label = self._say(f"{name} asks in {channel}", f"{name} 於 {channel} 查詢")
                value = title_of(purpose, self.language)
                yield Statement(Section.LIMITS, f"ask {name} {channel}", (name,), label, value)

    def conduct(self) -> Iterator[Statement]:
        """Say who computes, holds keys and approves, and how long records are kept."""
        found = self.agreement
        training, keys = found.training, found.keys
        lists = (
            ("compute", self._say("may compute", "計算方"), training.compute),
            ("membership", self._say("membership", "成員資訊"), training.membership),
            ("pseudonyms", self._say("pseudonyms", "假名"), training.pseudonyms),
            ("holders", self._say("hold a share of the key", "金鑰持有者"), keys.holders),
            ("approve run", self._say("approve each run", "核准執行"), found.approvers.run),
            ("approve epoch", self._say("approve each epoch", "核准換期"), found.approvers.epoch),
            ("approve release", self._say("approve scores", "核准評分"), found.approvers.release),
        )
        for key, label, names in lists:
            whom = (ALL,) if key in {"membership", "pseudonyms"} else names
            yield Statement(Section.CONDUCT, key, whom, label, self._listed(names), len(names))
        numbers = (
            ("min_rows", self._say("rows at least", "最少列數"), training.min_rows),
            ("threshold", self._say("holders that can answer", "可回應之持有者數"), keys.threshold),
            *((key, self._say(f"months: {en}", f"月數：{zh}"), months)
              for key, en, zh, months in self._months()),
        )  # fmt: skip
        for key, label, number in numbers:
            yield Statement(Section.CONDUCT, key, (ALL,), label, str(number), number)

    def _months(self) -> tuple[tuple[str, str, str, int], ...]:
        kept = self.agreement.retention
        return (
            ("log", "log is kept", "稽核紀錄保存", kept.log_months),
            ("reports", "reports are kept", "通報保存", kept.reports_months),
            ("scores", "scores are kept", "評分保存", kept.scores_months),
            ("models", "models are kept", "模型保存", kept.models_months),
        )
