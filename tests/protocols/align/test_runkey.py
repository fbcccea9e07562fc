"""The run key: alike at all partners, and refused where they disagree."""

import contextlib
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.align.runkey import agree_run_key, decode_part, encode_part
from protocols.errors import (
    InvalidProofError,
    MalformedMessageError,
    ProtocolError,
    UnsupportedParameterError,
)
from protocols.program import run_together

NAMES = ("insurer", "telecom", "police")


def contribution(name: str) -> bytes:
    return name.encode().ljust(32, b".")


def caught(program: Generator) -> Generator:
    """Give an error as the result, so that the other parties can end too."""
    try:
        return (yield from program)
    except ProtocolError as error:
        return error


def agree(names=NAMES, *, context=None, change=None, lists=None):
    programs = {
        name: caught(
            agree_run_key(
                name,
                (lists or {}).get(name, names),
                (change or {}).get(name, contribution(name)),
                context=(context or {}).get(name, b""),
            )
        )
        for name in names
    }
    return run_together(programs)


@pytest.mark.parametrize("names", [NAMES, NAMES[:2], (*NAMES, "bank")])
def test_all_partners_get_one_key(names):
    keys = set(agree(names).values())
    assert len(keys) == 1
    assert len(keys.pop()) == 32


def test_key_does_not_depend_on_order_of_names():
    assert agree(NAMES)["police"] == agree(NAMES[::-1])["police"]


@pytest.mark.parametrize("name", NAMES)
def test_every_contribution_changes_the_key(name):
    assert agree()["insurer"] != agree(change={name: bytes(32)})["insurer"]


def test_context_changes_the_key():
    assert agree()["insurer"] != agree(context=dict.fromkeys(NAMES, b"plan 2"))["insurer"]


def test_disagreement_about_the_run_is_found_by_all():
    results = agree(context={"police": b"another plan"})
    assert all(isinstance(result, InvalidProofError) for result in results.values())


def test_tampered_contribution_is_found():
    programs = {name: agree_run_key(name, NAMES, contribution(name)) for name in NAMES}
    programs["police"] = liar()
    with pytest.raises(InvalidProofError):
        run_together(programs)


def liar():
    """Give different partners different contributions, and otherwise follow the protocol."""
    program = agree_run_key("police", NAMES, contribution("police"))
    request = next(program)
    while True:
        if getattr(request, "to", None) == "telecom" and request.payload[0] == 1:
            request = type(request)("telecom", encode_part(1, bytes(32)))
        answer = yield request
        try:
            request = program.send(answer)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize(
    ("ours", "partners", "size"),
    [
        ("bank", NAMES, 32),
        ("police", ("police",), 32),
        ("police", NAMES * 2, 32),
        ("police", NAMES, 31),
    ],
)
def test_wrong_arguments_are_refused(ours, partners, size):
    with pytest.raises(UnsupportedParameterError):
        next(agree_run_key(ours, partners, bytes(size)))


@given(st.binary(min_size=32, max_size=32))
def test_part_survives_encoding(value):
    assert decode_part(1, encode_part(1, value)) == value


@given(st.binary(max_size=40))
def test_any_bytes_are_a_part_or_malformed(data):
    with contextlib.suppress(MalformedMessageError):
        assert encode_part(2, decode_part(2, data)) == data


def test_truncated_or_longer_part_is_malformed():
    whole = encode_part(1, bytes(32))
    for data in [
        *(whole[:size] for size in range(len(whole))),
        whole + b"\0",
        encode_part(2, bytes(32)),
    ]:
        with pytest.raises(MalformedMessageError):
            decode_part(1, data)
