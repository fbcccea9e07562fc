"""What a light says, in English and in Traditional Chinese as it is written in Taiwan.

A light is told by a colour word and a shape as well, so that it is understood on a black
and white slip and by those who do not tell red from green. No text says "safe", none
accuses, and none repeats a report. Chinese text uses full-width punctuation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from protocols.lookup.light import Colour, Light, Reason, Weight
from protocols.lookup.payload import Category, SourceClass, format_month


class Language(StrEnum):
    """The languages of the desk."""

    ZH = "zh"
    EN = "en"


@dataclass(frozen=True, slots=True)
class Wording:
    """A light in words.

    Attributes:
        shape: one character that tells the colour by its form.
        reminders: what to keep in mind, in the order of use.
    """

    shape: str
    word: str
    sentence: str
    reasons: tuple[str, ...]
    reminders: tuple[str, ...]


SHAPES: Mapping[Colour, str] = {
    Colour.GREEN: "●",
    Colour.YELLOW: "▲",
    Colour.RED: "■",
    Colour.GREY: "◇",
}

WORDS: Mapping[Language, Mapping[Colour, str]] = {
    Language.EN: {
        Colour.GREEN: "GREEN",
        Colour.YELLOW: "YELLOW",
        Colour.RED: "RED",
        Colour.GREY: "GREY",
    },
    Language.ZH: {
        Colour.GREEN: "綠燈",
        Colour.YELLOW: "黃燈",
        Colour.RED: "紅燈",
        Colour.GREY: "灰燈",
    },
}

SENTENCES: Mapping[Language, Mapping[Colour, str]] = {
    Language.EN: {
        Colour.GREEN: "no match found, keep using your judgement",
        Colour.YELLOW: "something was reported that is not confirmed, ask before you go on",
        Colour.RED: "a confirmed report, stop and follow the procedure",
        Colour.GREY: "cannot tell: a source is missing or too old",
    },
    Language.ZH: {
        Colour.GREEN: "查無通報，請續依專業判斷",
        Colour.YELLOW: "有尚未查證之通報，請先關懷提問再辦理",
        Colour.RED: "有已查證之通報，請暫停辦理並依程序處理",
        Colour.GREY: "無法判定：資料來源缺漏或逾期",
    },
}

# Yellow for care alone: nothing was reported against the person.
CARE_SENTENCE: Mapping[Language, str] = {
    Language.EN: "this person may be a victim of fraud, please care for them",
    Language.ZH: "當事人可能遭受詐騙，請主動關懷協助",
}

REMINDERS: Mapping[Language, Mapping[Colour, tuple[str, ...]]] = {
    Language.EN: {
        Colour.GREEN: (
            "Green says only that nobody has reported this; watch how the person behaves.",
        ),
        Colour.YELLOW: (
            "Ask whether the money will be passed on to a third party.",
            "Ask whether the person has ever met the one who asks for it.",
            "An unconfirmed report is no proof; let the person explain.",
        ),
        Colour.RED: (
            "Stop the transaction, call your supervisor, and report to 165 where it applies.",
            "A match is not a verdict; let the person explain and use other sources too.",
            "Do not tell the person what was reported or by whom.",
        ),
        Colour.GREY: (
            "Go by your own procedure as if there were no light, and check again later.",
        ),
    },
    Language.ZH: {
        Colour.GREEN: ("綠燈僅表示查無通報，仍請留意現場狀況。",),
        Colour.YELLOW: (
            "請詢問款項是否將轉交第三人。",
            "請詢問是否見過要求匯款之人。",
            "未查證之通報並非證據，請讓當事人說明。",
        ),
        Colour.RED: (
            "請暫停交易，通知主管，必要時通報一六五。",
            "符合通報不等於認定，請讓當事人說明並參考其他資料。",
            "請勿告知當事人通報內容或通報單位。",
        ),
        Colour.GREY: ("請比照無燈號時之程序辦理，稍後再查。",),
    },
}

CARE_REMINDER: Mapping[Language, str] = {
    Language.EN: "Offer help and contact with family or 165; this is no mark against the person.",
    Language.ZH: "請提供協助，聯繫家屬或一六五；此非對當事人之不利註記。",
}

CATEGORIES: Mapping[Language, Mapping[Category, str]] = {
    Language.EN: {
        Category.INVESTMENT: "investment fraud",
        Category.IMPERSONATED_AUTHORITY: "impersonated authority",
        Category.ROMANCE: "romance fraud",
        Category.SHOPPING: "shopping fraud",
        Category.LOAN: "loan fraud",
        Category.JOB: "job fraud",
        Category.IMPERSONATED_KIN: "impersonated relative or friend",
        Category.MULE_ACCOUNT: "mule account",
        Category.PHISHING: "phishing",
        Category.OTHER: "other fraud",
    },
    Language.ZH: {
        Category.INVESTMENT: "投資詐騙",
        Category.IMPERSONATED_AUTHORITY: "假冒機構",
        Category.ROMANCE: "感情詐騙",
        Category.SHOPPING: "購物詐騙",
        Category.LOAN: "貸款詐騙",
        Category.JOB: "求職詐騙",
        Category.IMPERSONATED_KIN: "假冒親友",
        Category.MULE_ACCOUNT: "人頭帳戶",
        Category.PHISHING: "釣魚詐騙",
        Category.OTHER: "其他詐騙",
    },
}

SOURCES: Mapping[Language, Mapping[SourceClass, str]] = {
    Language.EN: {
        SourceClass.POLICE: "police",
        SourceClass.HOTLINE_165: "hotline 165",
        SourceClass.TELECOM: "telecom",
        SourceClass.BANK: "bank",
        SourceClass.INSURER: "insurer",
        SourceClass.SIGHTING: "sighting at a desk",
    },
    Language.ZH: {
        SourceClass.POLICE: "警察機關",
        SourceClass.HOTLINE_165: "一六五專線",
        SourceClass.TELECOM: "電信業者",
        SourceClass.BANK: "銀行",
        SourceClass.INSURER: "保險業者",
        SourceClass.SIGHTING: "臨櫃發現",
    },
}

WEIGHTS: Mapping[Language, Mapping[Weight, str]] = {
    Language.EN: {
        Weight.CONFIRMED: "confirmed",
        Weight.CARE: "possible victim",
        Weight.REPORTED: "reported, not confirmed",
    },
    Language.ZH: {
        Weight.CONFIRMED: "已查證",
        Weight.CARE: "疑似被害人",
        Weight.REPORTED: "已通報，尚未查證",
    },
}


def word_light(light: Light, language: Language) -> Wording:
    """Put a light into words."""
    only_care = (
        light.colour is Colour.YELLOW
        and light.reasons
        and all(reason.weight is Weight.CARE for reason in light.reasons)
    )
    reminders = () if only_care else REMINDERS[language][light.colour]
    if light.is_care:
        reminders = (CARE_REMINDER[language], *reminders)
    return Wording(
        SHAPES[light.colour],
        WORDS[language][light.colour],
        CARE_SENTENCE[language] if only_care else SENTENCES[language][light.colour],
        tuple(word_reason(reason, language) for reason in light.reasons),
        reminders,
    )


def word_reason(reason: Reason, language: Language) -> str:
    """Put a reason into words: source class, status, category, months."""
    source, weight = SOURCES[language][reason.source], WEIGHTS[language][reason.weight]
    category = CATEGORIES[language][reason.category]
    if language is Language.EN:
        return f"{source}: {weight}; {category}; {_span(reason, ' to ')}"
    return f"{source}：{weight}；{category}；{_span(reason, '至')}"


def shared_sentence(label: str, language: Language) -> str:
    """Say that many innocent people share this number, so that it has no light."""
    if language is Language.EN:
        return f"a shared number of {label}: no light, it tells nothing about a person"
    return f"「{label}」之共用號碼，不顯示燈號，與個人無關"


def _span(reason: Reason, word: str) -> str:
    first, last = format_month(reason.first), format_month(reason.last)
    return last if first == last else f"{first}{word}{last}"
