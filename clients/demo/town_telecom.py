"""SIMULATED traffic of a telecom's subscribers: 1,400 columns, most of which say nothing.

    48 measures by month (12), 24 by hour (24), 14 by weekday (7), 36 kinds of app (2 each),
    24 foreign regions (2 each), 24 single figures, and 6 categories

Each number is floor(e^(level + traits x loads + noise)): many zeros, and a long tail. What a
column depends on belongs to the town and not to a seed, so that two towns are samples of
one world. A few dozen columns follow fraudsters' contacts, in the last months most of all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from clients.demo.town_draw import Draw, Field
from clients.demo.town_people import People
from protocols.vertical.contract import Category, Numeric

_CARRIERS = (
    "voice_in",
    "voice_out",
    "sms_in",
    "sms_out",
    "data",
    "ott_voice",
    "ott_text",
    "roaming",
)
_FRAUD_MEASURES = (
    "overseas_calls_in",
    "overseas_minutes_in",
    "first_contact_long_calls",
    "unknown_caller_calls",
    "new_app_installs",
    "remote_control_minutes",
    "hidden_number_calls",
    "call_centre_calls",
)
_SINGLES = (
    "tenure_months",
    "handset_age_months",
    "bill_amount",
    "arrears_days",
    "sim_changes",
    "handset_changes",
    "call_forward_days",
    "blocked_calls",
    "spam_reports",
    "cells_visited",
    "distance_km",
    "top_ups",
    "tariff_changes",
    "complaints",
    "lost_sim_reports",
    "family_lines",
    "night_share_percent",
    "longest_first_contact_minutes",
    "missed_calls",
    "voicemails",
    "premium_sms",
    "wifi_calls",
    "tethering_days",
    "store_visits",
)
_APPS, _REGIONS = 36, 24
# How strongly a measure follows fraudsters (targeted) and what the person does then (yielding).
_LOADS = {
    "overseas_calls_in": (0.85, 0.0),
    "overseas_minutes_in": (0.75, 0.2),
    "first_contact_long_calls": (0.65, 0.60),
    "unknown_caller_calls": (0.55, 0.0),
    "new_app_installs": (0.25, 0.35),
    "remote_control_minutes": (0.55, 0.70),
    "hidden_number_calls": (0.40, 0.0),
    "call_forward_days": (0.35, 0.45),
    "longest_first_contact_minutes": (0.55, 0.60),
    "spam_reports": (0.45, -0.25),
    "blocked_calls": (0.40, -0.45),
}
_MONTH_WEIGHTS = (0.1,) * 6 + (0.2, 0.3, 0.5, 0.8, 1.0, 1.0)
_OFFICE_HOURS = range(9, 16)
_TRAITS = 6  # activity, digital, social, age, targeted, yielding
_CHUNK = 128  # columns drawn at a time, which bounds the memory


@dataclass(frozen=True, slots=True)
class Measure:
    """How one column is drawn."""

    name: str
    month: int  # 0..11, or -1 where the column is no monthly figure
    level: float
    spread: float
    loads: NDArray[np.float32]
    high: int


def telecom_fields(
    people: People, rows: NDArray[np.int64], random: np.random.Generator
) -> list[Field]:
    """Return the traffic columns of the people in `rows`, who are the subscribers."""
    fields: list[Field] = []
    traits = _traits(people, rows, random)
    months = 0.35 * random.standard_normal((len(rows), 13), dtype=np.float32)
    months[:, 12] = 0  # figures over the whole time have no month of their own
    listed = list(measures())
    for start in range(0, len(listed), _CHUNK):
        part = listed[start : start + _CHUNK]
        fields += _drawn(part, traits, months, random)
    return fields + _categories(Draw(random, len(rows)), people.digital[rows])


def measures() -> Iterator[Measure]:
    """Name every numeric column and fix how it is drawn, the same in every town."""
    statistics = ("count", "minutes", "contacts", "new_contacts", "weekend")
    monthly = [f"{carrier}_{part}" for carrier, part in product(_CARRIERS, statistics)]
    for name, month in product([*monthly, *_FRAUD_MEASURES], range(12)):
        yield _measure(f"{name}_m{month + 1:02d}", name, month)
    for carrier, part, hour in product(_CARRIERS, statistics[:3], range(24)):
        yield _measure(f"{carrier}_{part}_h{hour:02d}", f"{carrier}_{part}_hour", -1, hour=hour)
    for carrier, part, day in product(_CARRIERS[:7], statistics[:2], range(7)):
        yield _measure(f"{carrier}_{part}_d{day + 1}", f"{carrier}_{part}_day", -1)
    for app, part in product(range(_APPS), ("minutes", "days")):
        yield _measure(f"app_{app + 1:02d}_{part}", f"app_{app}_{part}", -1)
    for region, way in product(range(_REGIONS), ("in", "out")):
        yield _measure(f"region_{region + 1:02d}_calls_{way}", f"region_{region}_{way}", -1)
    for name in _SINGLES:
        yield _measure(name, name, -1)


def _measure(column: str, family: str, month: int, *, hour: int | None = None) -> Measure:
    # A checksum of the name: the same world on every machine and for every seed.
    fixed = np.random.default_rng(zlib.crc32(family.encode()))
    loads = np.zeros(_TRAITS, dtype=np.float32)
    loads[:4] = fixed.normal([0.5, 0.1, 0.1, 0.0], [0.2, 0.25, 0.2, 0.15])
    level, spread = fixed.uniform(-1.0, 3.0), fixed.uniform(0.7, 1.3)
    if family in _LOADS:
        weight = 1.0 if month < 0 else _MONTH_WEIGHTS[month]
        loads[4:] = np.multiply(_LOADS[family], weight)
        loads[0], level, spread = 0.2, fixed.uniform(-0.4, 0.4), 0.9
    elif column.startswith("voice_in_contacts_h") and hour in _OFFICE_HOURS:
        loads[4:] = (0.12, 0.05)
    high = 2 ** int(np.ceil((level + 4.0 * spread) / np.log(2)))
    return Measure(column, month, level, spread, loads, high)


def _traits(
    people: People, rows: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.float32]:
    activity = random.standard_normal(len(rows))
    years = (people.age[rows] - 49) / 17
    listed = (activity, people.digital[rows], people.social[rows], years)
    hidden = (people.targeted[rows], people.yielding[rows])
    return np.stack([*listed, *hidden], axis=1).astype(np.float32)  # (rows, traits)


def _drawn(
    part: Sequence[Measure],
    traits: NDArray[np.float32],
    months: NDArray[np.float32],
    random: np.random.Generator,
) -> list[Field]:
    loads = np.stack([measure.loads for measure in part], axis=1)  # (traits, columns)
    spread = np.array([measure.spread for measure in part], dtype=np.float32)
    level = np.array([measure.level for measure in part], dtype=np.float32)
    values = random.standard_normal((len(traits), len(part)), dtype=np.float32)
    values *= spread
    values += traits @ loads + months[:, [measure.month for measure in part]] + level
    np.exp(values, out=values)
    np.floor(values, out=values)
    columns = np.ascontiguousarray(values.T)
    return [
        (Numeric(measure.name, 0, measure.high), np.minimum(column, measure.high))
        for measure, column in zip(part, columns, strict=True)
    ]


def _categories(draw: Draw, digital: NDArray[np.float64]) -> list[Field]:
    systems = ("android", "feature_phone", "ios")
    simple = draw.happens(-2.5 - 1.2 * digital)
    system = np.where(simple, "feature_phone", draw.levels(systems, [5, 0.3, 5]))
    tariffs = ("prepaid", "s", "m", "l", "unlimited")
    return [
        (Category("tariff", tariffs), draw.levels(tariffs, [1, 2, 3, 2, 2])),
        (
            Category("contract", ("12m", "24m", "30m", "none")),
            draw.levels(("12m", "24m", "30m", "none"), [2, 4, 3, 1]),
        ),
        (Category("handset_system", systems, missing=True), draw.without(system, 0.05)),
        (
            Category("payment", ("bank", "card", "shop")),
            draw.levels(("bank", "card", "shop"), [3, 4, 3]),
        ),
        (
            Category("roaming_plan", ("none", "asia", "world")),
            draw.levels(("none", "asia", "world"), [8, 2, 1]),
        ),
        (
            Category("area", ("north", "centre", "south", "east")),
            draw.levels(("north", "centre", "south", "east"), [9, 5, 6, 1]),
        ),
    ]
