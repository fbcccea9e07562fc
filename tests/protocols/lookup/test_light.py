import itertools
import re

import pytest

from protocols.lookup.light import (
    MAX_REASONS,
    Colour,
    Freshness,
    Light,
    Match,
    Source,
    Weight,
    combine,
    judge,
)
from protocols.lookup.payload import Category, Payload, Slot, SourceClass, Status, Use
from protocols.lookup.wording import (
    CARE_REMINDER,
    CARE_SENTENCE,
    CATEGORIES,
    REMINDERS,
    SENTENCES,
    SHAPES,
    SOURCES,
    WEIGHTS,
    WORDS,
    Language,
    shared_sentence,
    word_light,
    word_reason,
)

MONTH = 322  # November 2026
DAY = 86_400
FRESH, STALE, MISSING = DAY, 3 * DAY, None
USES = [Use(bits) for bits in range(1, 8)]


def payload(
    *,
    status=Status.CONFIRMED,
    slot=Slot.SUSPECT,
    use=None,
    expires=MONTH + 6,
    canary=False,
    category=Category.MULE_ACCOUNT,
    last=MONTH,
    contributor=1,
):
    if use is None:
        use = Use.CARE if slot is Slot.VICTIM else Use.COUNTER | Use.SCREENING
    return Payload(
        category,
        SourceClass.POLICE,
        status,
        use,
        slot,
        contributor,
        min(last, MONTH) - 3,
        min(last, expires),
        expires,
        bytes(12),
        canary,
    )


def source(name="police", age_s=FRESH, *, is_required=True):
    return Source(name, age_s, 2 * DAY, is_required)


def expected_colour(record, use, age_s, other_age_s):
    """The rule, told the other way round: what must hold for each colour."""
    is_live = (
        record.status in (Status.REPORTED, Status.CONFIRMED)
        and record.expires >= MONTH
        and not record.canary
    )
    against = is_live and record.slot is Slot.SUSPECT
    against = against and bool(record.use & use & (Use.COUNTER | Use.SCREENING))
    for_care = is_live and record.slot is Slot.VICTIM and bool(record.use & use & Use.CARE)
    if against and record.status is Status.CONFIRMED and age_s == FRESH:
        return Colour.RED
    if (age_s, other_age_s) != (FRESH, FRESH):
        return Colour.GREY
    return Colour.YELLOW if against or for_care else Colour.GREEN


def every_record():
    choices = itertools.product(Status, Slot, USES, (MONTH - 1, MONTH, MONTH + 1), (False, True))
    for status, slot, use, expires, canary in choices:
        if slot is Slot.VICTIM and use != Use.CARE:
            continue  # no such payload can be written
        record = payload(
            status=status, slot=slot, use=use, expires=expires, canary=canary, last=MONTH - 2
        )
        record.encode()
        yield record


def test_every_combination_has_the_colour_of_the_rule():
    seen = set()
    ages = itertools.product((FRESH, STALE, MISSING), repeat=2)
    for record, use, (age_s, other_age_s) in itertools.product(every_record(), USES, list(ages)):
        sources = [source("police", age_s), source("telecom", other_age_s)]
        found = judge([Match("police", record)], sources, use=use, month=MONTH)
        assert found.colour is expected_colour(record, use, age_s, other_age_s)
        assert len(found.reasons) <= MAX_REASONS
        seen.add(found.colour)
    assert seen == set(Colour)


def test_two_records_give_the_more_serious_colour_of_each():
    records = list(every_record())[::5]
    sources = [source("police"), source("telecom")]
    rank = [Colour.GREEN, Colour.YELLOW, Colour.GREY, Colour.RED]
    for first, second in itertools.product(records, repeat=2):
        use = Use.COUNTER | Use.CARE
        both = judge(
            [Match("police", first), Match("telecom", second)], sources, use=use, month=MONTH
        )
        one, other = (
            judge([Match("police", item)], sources, use=use, month=MONTH)
            for item in (first, second)
        )
        assert both.colour is max(one.colour, other.colour, key=rank.index)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("use", USES)
def test_suspected_victim_is_never_red_and_never_a_mark(status, use):
    record = payload(slot=Slot.VICTIM, status=status)
    found = judge([Match("police", record)], [source()], use=use, month=MONTH)
    assert found.colour in (Colour.GREEN, Colour.YELLOW)
    if found.colour is Colour.YELLOW:
        assert found.is_care
        for language in Language:
            assert word_light(found, language).sentence == CARE_SENTENCE[language]


def test_withdrawn_and_expired_records_leave_no_trace():
    for record in (
        payload(status=Status.WITHDRAWN),
        payload(status=Status.EXPIRED),
        payload(expires=MONTH - 1, last=MONTH - 2),
        payload(canary=True),
    ):
        found = judge([Match("police", record)], [source()], use=Use.COUNTER, month=MONTH)
        assert found == Light(Colour.GREEN)


def test_optional_source_is_missed_only_where_it_matters():
    sources = [source(), source("telecom", STALE, is_required=False)]
    nothing = judge([], sources, use=Use.COUNTER, month=MONTH)
    assert nothing.colour is Colour.GREEN
    in_old_table = judge([Match("telecom", payload())], sources, use=Use.COUNTER, month=MONTH)
    assert in_old_table.colour is Colour.GREY
    assert in_old_table.absent == ("telecom",)
    assert in_old_table.reasons  # told, without a colour


def test_record_of_an_unlisted_contributor_is_never_green():
    found = judge([Match("bank", payload())], [source()], use=Use.COUNTER, month=MONTH)
    assert found.colour is Colour.GREY


def test_red_stands_while_another_source_is_missing():
    sources = [source(), source("telecom", MISSING)]
    found = judge([Match("police", payload())], sources, use=Use.COUNTER, month=MONTH)
    assert found.colour is Colour.RED
    assert found.absent == ("telecom",)


@pytest.mark.parametrize(
    ("age_s", "freshness"),
    [
        (None, Freshness.MISSING),
        (-3600, Freshness.FRESH),
        (-3601, Freshness.STALE),
        (0, Freshness.FRESH),
        (2 * DAY, Freshness.FRESH),
        (2 * DAY + 1, Freshness.STALE),
    ],
)
def test_freshness_has_exact_limits(age_s, freshness):
    assert source(age_s=age_s).freshness is freshness


def test_three_reasons_at_most_and_care_among_them():
    records = [payload(category=category) for category in list(Category)[:5]]
    records.append(payload(slot=Slot.VICTIM))
    matches = [Match("police", record) for record in records]
    found = judge(matches, [source()], use=Use.COUNTER | Use.CARE, month=MONTH)
    assert len(found.reasons) == MAX_REASONS
    assert found.others == 3
    assert found.is_care
    assert found.reasons[0].weight is Weight.CONFIRMED


def test_combined_light_is_the_most_serious():
    lights = {
        Colour.GREEN: Light(Colour.GREEN),
        Colour.YELLOW: judge(
            [Match("police", payload(status=Status.REPORTED))],
            [source()],
            use=Use.COUNTER,
            month=MONTH,
        ),
        Colour.GREY: Light(Colour.GREY, absent=("telecom",)),
        Colour.RED: judge([Match("police", payload())], [source()], use=Use.COUNTER, month=MONTH),
    }
    rank = list(lights)
    for one, other in itertools.product(Colour, repeat=2):
        both = combine([lights[one], lights[other]])
        assert both.colour is max(one, other, key=rank.index)
        assert len(both.reasons) <= MAX_REASONS
    with pytest.raises(ValueError, match="at least one"):
        combine([])


def test_every_text_is_there_in_both_languages():
    tables = [
        (WORDS, Colour),
        (SENTENCES, Colour),
        (REMINDERS, Colour),
        (CATEGORIES, Category),
        (SOURCES, SourceClass),
        (WEIGHTS, Weight),
    ]
    for table, members in tables:
        for language in Language:
            assert set(table[language]) == set(members)
            assert all(table[language].values())
    assert len(set(SHAPES.values())) == len(Colour)


def every_text(language):
    for table in (WORDS, SENTENCES, CATEGORIES, SOURCES, WEIGHTS):
        yield from table[language].values()
    for texts in REMINDERS[language].values():
        yield from texts
    yield CARE_SENTENCE[language]
    yield CARE_REMINDER[language]
    yield shared_sentence("臺大醫院", language)
    light = judge([Match("police", payload())], [source()], use=Use.COUNTER, month=MONTH)
    yield from word_light(light, language).reasons


def test_chinese_texts_use_full_width_punctuation():
    for text in every_text(Language.ZH):
        assert not re.search(r"[一-鿿]\s*[,:;?!()]|[,:;?!()]\s*[一-鿿]", text), text


def test_no_text_calls_anybody_safe():
    for language in Language:
        for text in every_text(language):
            assert not re.search(r"\bsafe\b|安全", text), text
    assert SENTENCES[Language.EN][Colour.GREEN] == "no match found, keep using your judgement"
    assert SENTENCES[Language.ZH][Colour.GREEN] == "查無通報，請續依專業判斷"


def test_reason_names_class_status_category_and_months():
    light = judge([Match("police", payload())], [source()], use=Use.COUNTER, month=MONTH)
    (reason,) = light.reasons
    assert word_reason(reason, Language.EN) == (
        "police: confirmed; mule account; 2026-08 to 2026-11"
    )
    assert word_reason(reason, Language.ZH) == "警察機關：已查證；人頭帳戶；2026-08至2026-11"
    assert reason.code == "confirmed:police:mule_account"
