import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dp.events import (
    MAX_COUNT,
    MAX_NOISE_MULTIPLIER,
    MIN_NOISE_MULTIPLIER,
    Composed,
    Gaussian,
    SampledGaussian,
    decode_event,
    encode_event,
    event_fields,
    event_from_fields,
)
from protocols.errors import MalformedMessageError, UnsupportedParameterError

noise = st.floats(MIN_NOISE_MULTIPLIER, MAX_NOISE_MULTIPLIER)
counts = st.integers(1, MAX_COUNT)
gaussians = st.builds(Gaussian, noise, counts)
sampled = st.builds(SampledGaussian, noise, st.floats(1e-9, 1.0), counts)
composed = st.lists(gaussians | sampled, max_size=5).map(lambda parts: Composed(tuple(parts)))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["kind", "noise_multiplier", "count", "events", "steps", "sample_rate"]
            ),
            inner | st.sampled_from(["gaussian", "sampled_gaussian", "composed"]),
            max_size=5,
        )
    ),
    max_leaves=8,
)


@given(gaussians | sampled | composed)
def test_decoding_inverts_encoding(event):
    assert decode_event(encode_event(event)) == event


@given(st.binary(max_size=80))
def test_any_bytes_decode_or_are_malformed(data):
    try:
        event = decode_event(data)
    except MalformedMessageError:
        return
    assert decode_event(encode_event(event)) == event


@given(json_values)
def test_any_json_decodes_or_is_malformed(value):
    try:
        event = event_from_fields(value)
    except MalformedMessageError:
        return
    assert event_from_fields(event_fields(event)) == event


def test_encoding_is_pinned():
    # These bytes stand in ledgers: a change of them is a change of meaning.
    event = Composed((Gaussian(2.5, 40), SampledGaussian(1.1, 0.01, 500)))
    assert encode_event(event) == (
        b'{"events":[{"count":40,"kind":"gaussian","noise_multiplier":2.5},'
        b'{"kind":"sampled_gaussian","noise_multiplier":1.1,"sample_rate":0.01,"steps":500}],'
        b'"kind":"composed"}'
    )


def test_every_truncation_is_malformed():
    data = encode_event(Composed((Gaussian(2.5, 40), SampledGaussian(1.1, 0.01, 500))))
    for size in range(len(data)):
        with pytest.raises(MalformedMessageError):
            decode_event(data[:size])
    with pytest.raises(MalformedMessageError):
        decode_event(data + b"}")


GOOD = {"kind": "gaussian", "noise_multiplier": 1.0, "count": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "laplace"},
        {"kind": None},
        {"kind": ["gaussian"]},
        {"noise_multiplier": 0},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": "1.0"},
        {"noise_multiplier": True},
        {"noise_multiplier": 10**400},
        {"noise_multiplier": 1e-7},
        {"noise_multiplier": 1e10},
        {"count": 0},
        {"count": -1},
        {"count": 1.0},
        {"count": True},
        {"count": MAX_COUNT + 1},
        {"sample_rate": 0.5},
    ],
)
def test_wrong_field_is_malformed(change):
    assert decode_event(json.dumps(GOOD).encode()) == Gaussian(1.0)
    with pytest.raises(MalformedMessageError):
        decode_event(json.dumps(GOOD | change).encode())


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_number_without_value_is_malformed(text):
    data = f'{{"kind":"gaussian","noise_multiplier":{text},"count":1}}'
    with pytest.raises(MalformedMessageError):
        decode_event(data.encode())


@pytest.mark.parametrize("name", ["noise_multiplier", "count", "kind"])
def test_missing_field_is_malformed(name):
    with pytest.raises(MalformedMessageError):
        event_from_fields({key: value for key, value in GOOD.items() if key != name})


def test_repeated_field_is_malformed():
    with pytest.raises(MalformedMessageError):
        decode_event(b'{"kind":"gaussian","noise_multiplier":9.0,"noise_multiplier":1.0,"count":1}')


def test_whole_number_of_canonical_json_is_a_noise_multiplier():
    assert decode_event(b'{"count":3,"kind":"gaussian","noise_multiplier":2}') == Gaussian(2.0, 3)


def test_nested_composition_is_unfolded_and_not_decoded():
    one, two = Gaussian(1.0), Gaussian(2.0)
    assert Composed((Composed((one,)), two)) == Composed((one, two))
    nested = {"kind": "composed", "events": [{"kind": "composed", "events": []}]}
    with pytest.raises(MalformedMessageError):
        event_from_fields(nested)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1, "1"])
def test_event_without_noise_cannot_be_built(value):
    with pytest.raises(UnsupportedParameterError):
        Gaussian(value)
    with pytest.raises(UnsupportedParameterError):
        SampledGaussian(value, 0.1, 1)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan])
def test_sample_rate_is_a_probability(rate):
    with pytest.raises(UnsupportedParameterError):
        SampledGaussian(1.0, rate, 1)


def test_foreign_value_is_no_event():
    with pytest.raises(UnsupportedParameterError):
        Composed(("gaussian",))
