"""SIMULATED policies: what an insurer knows about its customers."""

from __future__ import annotations

import numpy as np

from clients.demo.town_draw import Draw, Field, Levels
from clients.demo.town_people import People
from protocols.vertical.contract import Category, Numeric

CHANNELS = ("agent", "bank", "broker", "online", "phone")
OCCUPATIONS = ("homemaker", "manual", "office", "professional", "retired", "service", "student")
PAYMENTS = ("card", "counter", "payroll", "transfer")
MARITAL = ("divorced", "married", "single", "widowed")
_RETIREMENT = 65
_MAX_LOAN = 20_000_000


def insurer_fields(people: People, random: np.random.Generator) -> list[Field]:
    """Return the columns of the policy table, one value for each person of the town."""
    return _person_fields(people, Draw(random, people.count)) + _policy_fields(
        people, Draw(random, people.count)
    )


def _person_fields(people: People, draw: Draw) -> list[Field]:
    sex = np.where(people.is_woman, "female", "male").astype(object)
    region = people.letters.astype(object)
    alone = people.social < -1.2 + 0.5 * draw.random.standard_normal(people.count)
    marital = np.where(alone, "widowed", draw.levels(MARITAL, [1, 6, 4, 1]))
    marital = np.where(alone & (people.age < _RETIREMENT), "divorced", marital)
    income = draw.money(13.4 + 0.5 * people.wealth - 0.2 * people.strained, 0.4, 20_000_000)
    return [
        (Numeric("age", 18, 100), people.age),
        (Category("sex", ("female", "male")), sex),
        (Category("region", tuple(sorted(set(region)))), region),
        (Category("occupation", OCCUPATIONS, missing=True), _occupation(people, draw)),
        (Category("marital", MARITAL, missing=True), draw.without(marital, 0.08)),
        (Numeric("income", 0, 20_000_000, missing=True), draw.gaps(income, 0.22)),
    ]


def _policy_fields(people: People, draw: Draw) -> list[Field]:
    months = 1.5 * (people.age - 20) + draw.random.gamma(2.0, 45.0, people.count)
    insured = draw.money(13.8 + 0.55 * people.wealth, 0.5, 100_000_000)
    premium = np.clip(np.round(insured * draw.random.uniform(0.01, 0.04, people.count)), 0, 3e6)
    arrears = draw.counts(-0.7 + 0.5 * people.strained, 1.4, 180)
    # Who is led by a stranger, and owns a policy, is led to borrow on it.
    led = 0.40 * people.targeted + 0.40 * people.yielding + 0.30 * people.strained
    borrows = draw.happens(-2.3 + 1.4 * led)
    loan = np.where(borrows, draw.money(11.8 + 0.5 * people.wealth, 0.7, _MAX_LOAN), 0.0)
    surrenders = draw.counts(-1.6 + 0.35 * led, 1.0, 10)
    surrendered = np.clip(surrenders * draw.money(11.0, 0.6, _MAX_LOAN), 0, _MAX_LOAN)
    return [
        (Category("channel", CHANNELS), _channel(people, draw)),
        (Category("payment", PAYMENTS), draw.levels(PAYMENTS, [3, 2, 1, 4])),
        (Numeric("tenure_months", 0, 600), np.clip(np.round(months), 0, 600)),
        (Numeric("policies", 0, 30), draw.counts(0.6 + 0.3 * people.wealth, 0.5, 30)),
        (Numeric("sum_insured", 0, 100_000_000), insured),
        (Numeric("annual_premium", 0, 3_000_000), premium),
        (Numeric("premium_arrears_days", 0, 180, missing=True), draw.gaps(arrears, 0.06)),
        (Numeric("policy_loan_amount", 0, _MAX_LOAN), loan),
        (Numeric("policy_loans_12m", 0, 12), draw.counts(-1.2 + 0.45 * led, 1.0, 12)),
        (Numeric("surrenders_36m", 0, 10), surrenders),
        (Numeric("surrender_amount_36m", 0, _MAX_LOAN), surrendered),
        (Numeric("address_changes_36m", 0, 10), draw.counts(-1.3, 1.0, 10)),
        (Numeric("contact_changes_12m", 0, 10), draw.counts(-1.5 + 0.2 * led, 1.0, 10)),
        (Numeric("beneficiary_changes", 0, 10), draw.counts(-1.8, 1.1, 10)),
        (Numeric("web_logins_12m", 0, 400), draw.counts(1.0 + 0.9 * people.digital, 1.0, 400)),
        (Numeric("counter_visits_12m", 0, 60), draw.counts(-0.2 - 0.4 * people.digital, 0.9, 60)),
        (Numeric("care_calls_12m", 0, 30), draw.counts(-1.0 - 0.2 * people.social, 0.9, 30)),
    ]


def _occupation(people: People, draw: Draw) -> Levels:
    working = draw.levels(OCCUPATIONS, [1.5, 2.5, 4, 1.5, 0.2, 3, 0.7])
    retired = (people.age >= _RETIREMENT) & draw.happens(1.5)
    return draw.without(np.where(retired, "retired", working), 0.12)


def _channel(people: People, draw: Draw) -> Levels:
    usual = draw.levels(CHANNELS, [5, 3, 1, 0.4, 0.6])
    online = draw.happens(-1.8 + 1.2 * people.digital)
    by_phone = draw.happens(-2.6 + 0.6 * people.yielding)
    return np.where(by_phone, "phone", np.where(online, "online", usual))
