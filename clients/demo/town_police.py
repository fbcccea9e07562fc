"""SIMULATED fraud reports: persons that the police have heard of, half of it unconfirmed.

Most of the reported are victims or had their account used; to stand here is no guilt.
"""

from __future__ import annotations

import numpy as np

from clients.demo.town_draw import Draw, Field
from clients.demo.town_people import People
from protocols.vertical.contract import Category, Numeric

CATEGORIES = (
    "account_rental",
    "fake_investment",
    "fake_official",
    "instalment_cancelling",
    "job_offer",
    "romance",
    "shopping",
)
ROLES = ("account_holder", "line_holder", "suspected_victim", "witness")
SOURCES = ("bank", "hotline_165", "patrol", "telecom")
STATUSES = ("confirmed", "expired", "reported", "withdrawn")
MONTHS = 36


def police_fields(people: People, random: np.random.Generator) -> list[Field]:
    """Return the columns of the report table, one value for each person of the town."""
    draw = Draw(random, people.count)
    pull = 0.6 * people.targeted + 0.4 * people.yielding
    confirmed = draw.happens(-0.45 + 0.5 * pull)
    status = np.where(confirmed, "confirmed", draw.levels(STATUSES, [0, 1, 3, 1]))
    victim = draw.happens(-0.4 + 0.8 * pull)
    role = np.where(victim, "suspected_victim", draw.levels(ROLES, [4, 3, 1, 2]))
    reports = 1 + draw.counts(-0.6 + 0.4 * pull, 0.8, 39)
    last = np.minimum(np.floor(draw.random.exponential(9.0, people.count)), MONTHS - 1)
    first = np.minimum(last + draw.counts(-0.3, 1.2, MONTHS), MONTHS)
    amount = draw.money(11.5 + 0.5 * people.wealth, 1.1, 50_000_000)
    return [
        (Category("role", ROLES), role),
        (Category("category", CATEGORIES), draw.levels(CATEGORIES, [3, 5, 2, 2, 2, 2, 4])),
        (Category("status", STATUSES), status),
        (Category("source", SOURCES), draw.levels(SOURCES, [3, 5, 1, 2])),
        (Numeric("reports", 1, 40), reports),
        (Numeric("confirmed_reports", 0, 40), np.where(confirmed, np.ceil(reports / 2), 0.0)),
        (Numeric("months_since_first", 0, MONTHS), first),
        (Numeric("months_since_last", 0, MONTHS), last),
        (Numeric("linked_accounts", 0, 50), draw.counts(-0.5 + 0.3 * pull, 1.0, 50)),
        (Numeric("linked_lines", 0, 50), draw.counts(-0.5 + 0.3 * pull, 1.0, 50)),
        (Numeric("amount_reported", 0, 50_000_000, missing=True), draw.gaps(amount, 0.4)),
    ]
