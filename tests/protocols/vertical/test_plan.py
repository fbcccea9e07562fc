import contextlib
import hashlib
import json
import math
import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import canonical_json
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.vertical.plan import HUB, Partner, TrainingPlan
from protocols.vertical.settings import EncoderTerms, Schedule

ENCODER = EncoderTerms(knots=32, edge_share=0.02, mean_share=0.05)
INSURER = Partner("insurer", "0a" * 32, ("age", "sum"), 0.6, ENCODER)
TELECOM = Partner("telecom", "0b" * 32, ("calls",), 0.8, ENCODER)
POLICE = Partner("police", "0c" * 32, (), 0.0, EncoderTerms())
PLAN = TrainingPlan(
    run="first-run",
    purpose="https://w3id.org/dpv#FraudPreventionAndDetection",
    partners=(INSURER, TELECOM, POLICE),
    label_holder="insurer",
    compute=("insurer", "telecom", "police"),
    epoch=0,
    membership="hidden",
    sample_fraction=1.0,
    held_out_fraction=0.3,
    min_rows=100,
    epsilon=1.0,
    delta=1e-5,
    steps=120,
    degree=1,
    reach=0.2,
    count_share=0.01,
    schedule=Schedule(8.0, 0.9, 0.5),
    resolution_bits=10,
    on_refusal="continue",
    deadline_s=600,
)


def with_partner(index: int, **changes) -> TrainingPlan:
    partners = list(PLAN.partners)
    partners[index] = replace(partners[index], **changes)
    return replace(PLAN, partners=tuple(partners))


def variants() -> list[TrainingPlan]:
    """Return plans that differ from PLAN in one field each, and in every field once."""
    return [
        replace(PLAN, run="second-run"),
        replace(PLAN, purpose="https://w3id.org/dpv#RiskManagement"),
        replace(PLAN, partners=(TELECOM, INSURER, POLICE)),
        replace(PLAN, label_holder="telecom"),
        replace(PLAN, compute=("telecom", "insurer", "police")),
        replace(PLAN, epoch=3),
        replace(PLAN, membership="shared"),
        replace(PLAN, sample_fraction=0.5),
        replace(PLAN, held_out_fraction=0.0),
        replace(PLAN, min_rows=101),
        replace(PLAN, epsilon=1.0000000000000002),
        replace(PLAN, delta=1e-6),
        replace(PLAN, steps=121),
        replace(PLAN, degree=3),
        replace(PLAN, reach=0.3),
        replace(PLAN, count_share=0.02),
        replace(PLAN, schedule=Schedule(8.0, 0.9, 0.5, 1.0)),
        replace(PLAN, schedule=Schedule(8.5, 0.9, 0.5)),
        replace(PLAN, schedule=Schedule(8.0, 0.8, 0.5)),
        replace(PLAN, schedule=Schedule(8.0, 0.9, 0.25)),
        replace(PLAN, resolution_bits=0),
        replace(PLAN, on_refusal="end"),
        replace(PLAN, deadline_s=601),
        replace(
            PLAN,
            partners=(INSURER, TELECOM, replace(POLICE, name="feed")),
            compute=("insurer", "telecom", "feed"),
        ),
        with_partner(0, identity="0d" * 32),
        with_partner(1, block="lines"),
        with_partner(0, columns=("sum", "age")),
        with_partner(0, norm=0.5),
        with_partner(1, encoder=replace(ENCODER, knots=16)),
        with_partner(1, encoder=replace(ENCODER, edge_share=0.0)),
        with_partner(1, encoder=replace(ENCODER, mean_share=0.0)),
    ]


def test_hash_changes_with_every_field():
    digests = [plan.digest for plan in [PLAN, *variants()]]
    assert len(set(digests)) == len(digests)
    # Every field of a plan was varied, also those of its parts.
    for kind, sample in ((TrainingPlan, PLAN), (Partner, INSURER), (Schedule, PLAN.schedule)):
        for field in fields(kind):
            own = getattr(sample, field.name)
            others = [
                getattr(part, field.name)
                for plan in variants()
                for part in (plan, *plan.partners, plan.schedule)
                if isinstance(part, kind)
            ]
            assert any(other != own for other in others), field.name


@pytest.mark.parametrize("plan", [PLAN, *variants()])
def test_plan_comes_back(plan):
    assert TrainingPlan.decode(plan.encode()) == plan
    assert TrainingPlan.decode(plan.encode()).digest == plan.digest


def test_hash_binds_kind_and_version():
    assert PLAN.digest == hashlib.sha256(b"lianfang run plan v1\0" + PLAN.encode()).digest()


def test_every_truncation_and_trailing_byte_is_malformed():
    data = PLAN.encode()
    for bad in [
        *(data[:size] for size in range(len(data))),
        data + b"\n",
        data + b"\0",
        b" " + data,
    ]:
        with pytest.raises(MalformedMessageError, match=r"^plan: "):
            TrainingPlan.decode(bad)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_plan_or_malformed(data):
    with pytest.raises(MalformedMessageError):
        TrainingPlan.decode(data)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, path=()) -> list[tuple]:
    found = [path]
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            found += places(inner, (*path, key))
    return found


PLACES = [path for path in places(json.loads(PLAN.encode())) if path]


def put(path, value) -> bytes:
    whole = json.loads(PLAN.encode())
    place = whole
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@given(st.sampled_from(PLACES), ANY_JSON)
def test_any_value_in_any_place_is_a_plan_or_malformed(path, value):
    with contextlib.suppress(MalformedMessageError):
        plan = TrainingPlan.decode(put(path, value))
        assert plan.encode() == put(path, value)


@given(st.integers(0, 2000), st.integers(0, 255))
def test_any_changed_byte_changes_the_plan_or_is_malformed(place, byte):
    data = bytearray(PLAN.encode())
    data[place % len(data)] = byte
    with contextlib.suppress(MalformedMessageError):
        assert TrainingPlan.decode(bytes(data)).encode() == bytes(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("epsilon",), 1),
        (("steps",), 120.0),
        (("steps",), True),
        (("min_rows",), True),
        (("run",), ["first-run"]),
        (("partners", 2, "norm"), 0),
        (("partners", 0, "encoder", "knots"), 32.0),
        (("schedule", "momentum"), 0),
        (("partners", 0, "columns"), "ab"),
        (("partners", 0, "columns"), [1]),
        (("partners", 0, "columns"), [""]),
        (("compute",), {"insurer": 1, "telecom": 1, "police": 1}),
        (("purpose",), "\ud800"),
        (("more",), 1),
        (("schedule", "more"), 1),
        (("partners", 0, "more"), 1),
    ],
)
def test_equal_but_differently_typed_value_is_malformed(path, value):
    data = put(path, value) if value != "\ud800" else put(path, "X").replace(b'"X"', b'"\\ud800"')
    with pytest.raises(MalformedMessageError, match=r"^plan: "):
        TrainingPlan.decode(data)


def test_other_spelling_of_a_plan_is_malformed():
    value = json.loads(PLAN.encode())
    spaced = json.dumps(value, sort_keys=True).encode()
    unsorted = json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode()
    escaped = PLAN.encode().replace(b"insurer", b"\\u0069nsurer", 1)
    for data in (spaced, unsorted, escaped):
        with pytest.raises(MalformedMessageError, match="not in canonical form"):
            TrainingPlan.decode(data)


OUT_OF_RANGE = [
    ({"run": "Run 1"}, "run"),
    ({"run": ""}, "run"),
    ({"run": "a\n"}, "run"),
    ({"purpose": ""}, "purpose"),
    ({"partners": (INSURER,)}, "partners"),
    ({"partners": (INSURER, INSURER, POLICE)}, "partners"),
    ({"label_holder": "bank"}, "label_holder"),
    ({"compute": ("insurer", "telecom")}, "compute"),
    ({"compute": ("insurer", "telecom", "telecom")}, "compute"),
    ({"compute": ("insurer", "telecom", "bank")}, "compute"),
    ({"membership": "open"}, "membership"),
    ({"on_refusal": "ask"}, "on_refusal"),
    ({"sample_fraction": 0.0}, "sample_fraction"),
    ({"sample_fraction": 1.5}, "sample_fraction"),
    ({"held_out_fraction": 1.0}, "held_out_fraction"),
    ({"held_out_fraction": math.nan}, "held_out_fraction"),
    ({"min_rows": 0}, "min_rows"),
    ({"deadline_s": 0}, "deadline_s"),
    ({"deadline_s": 100_000}, "deadline_s"),
    ({"epsilon": 0.0}, "epsilon"),
    ({"epsilon": 65.0}, "epsilon"),
    ({"epsilon": math.nan}, "epsilon"),
    ({"epsilon": 1}, "epsilon"),
    ({"delta": 0.0}, "delta"),
    ({"delta": 0.01}, "delta"),
    ({"delta": math.nan}, "delta"),
    ({"steps": 0}, "steps"),
    ({"steps": 10_001}, "steps"),
    ({"steps": 5.0}, "steps"),
    ({"degree": 2}, "degree"),
    ({"reach": 0.0}, "reach"),
    ({"reach": 1.1}, "reach"),
    ({"reach": 17.0, "degree": 3}, "reach"),
    ({"reach": math.nan}, "reach"),
    ({"count_share": 0.0}, "count_share"),
    ({"count_share": math.nan}, "count_share"),
    ({"count_share": 0.9}, "count_share"),
    ({"resolution_bits": -1}, "resolution_bits"),
    ({"resolution_bits": 21}, "resolution_bits"),
    ({"compute": ["insurer", "telecom", "police"]}, "compute"),
]
PARTNER_DEFECTS = [
    (0, {"name": HUB}, "partner name"),
    (0, {"name": "Insurer"}, "partner name"),
    (0, {"identity": "0A" * 32}, "identity of insurer"),
    (0, {"identity": "0a" * 31}, "identity of insurer"),
    (0, {"columns": ("age", "age")}, "columns of insurer"),
    (0, {"columns": ("",)}, "columns"),
    (0, {"columns": ()}, "norm of insurer"),
    (0, {"norm": 0.0}, "norm of insurer"),
    (0, {"norm": 0.61}, "norm"),
    (0, {"norm": math.nan}, "norm"),
    (0, {"norm": 1e300}, "norm"),
    (2, {"norm": 0.1}, "norm of police"),
    (0, {"encoder": EncoderTerms(edge_share=0.5, mean_share=0.45)}, "encoder shares"),
]


@pytest.mark.parametrize(("change", "field"), OUT_OF_RANGE)
def test_value_out_of_range_is_named(change, field):
    with pytest.raises(UnsupportedParameterError, match=re.escape(field)):
        replace(PLAN, **change)


@pytest.mark.parametrize(("index", "change", "field"), PARTNER_DEFECTS)
def test_partner_out_of_range_is_named(index, change, field):
    with pytest.raises(UnsupportedParameterError, match=re.escape(field)):
        with_partner(index, **change)


def test_defect_in_bytes_names_the_field():
    with pytest.raises(MalformedMessageError, match="plan: delta: must be greater than 0"):
        TrainingPlan.decode(put(("delta",), 0.5))


def test_partners_are_found_by_name():
    assert PLAN.partner("telecom") == TELECOM
    assert PLAN.owners == (INSURER, TELECOM)
    assert PLAN.names == ("insurer", "telecom", "police")
    with pytest.raises(UnsupportedParameterError, match="no partner named bank; invite it"):
        PLAN.partner("bank")


def test_plan_goes_on_without_a_partner():
    smaller = PLAN.without("telecom")
    assert smaller.names == ("insurer", "police")
    assert smaller.compute == ("insurer", HUB, "police")
    # Nobody else's share of the norm is left unused.
    assert smaller.owners[0].norm == 1.0
    assert replace(smaller, partners=PLAN.partners, compute=PLAN.compute) == PLAN
    assert smaller.digest != PLAN.digest
    assert TrainingPlan.decode(smaller.encode()) == smaller


def test_norms_are_shared_anew_in_proportion():
    police = replace(POLICE, columns=("reports",), norm=0.48)
    plan = replace(PLAN, partners=(replace(INSURER, norm=0.36), TELECOM, police))
    norms = [partner.norm for partner in plan.without("telecom").partners]
    assert norms == pytest.approx([0.6, 0.8])


def test_partner_without_columns_may_leave():
    smaller = PLAN.without("police")
    assert smaller.compute == ("insurer", "telecom", HUB)
    assert [partner.norm for partner in smaller.partners] == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("name", ["insurer", "bank", HUB])
def test_plan_cannot_go_on_without(name):
    with pytest.raises(UnsupportedParameterError):
        PLAN.without(name)


def test_plan_cannot_go_on_without_the_last_columns():
    partners = (replace(INSURER, columns=(), norm=0.0), TELECOM, POLICE)
    plan = replace(PLAN, partners=partners)
    with pytest.raises(UnsupportedParameterError, match="without telecom; end the run"):
        plan.without("telecom")


def test_hub_computes_in_one_place_only():
    plan = replace(PLAN, compute=("insurer", "telecom", HUB))
    with pytest.raises(UnsupportedParameterError, match="without telecom; end the run"):
        plan.without("telecom")
    assert plan.without("police").compute == plan.compute


def test_canonical_form_is_that_of_the_codec():
    assert PLAN.encode() == canonical_json(json.loads(PLAN.encode()))
