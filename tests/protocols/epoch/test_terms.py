"""Terms become one manifest at every holder, and other terms another name everywhere."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import canonical_json
from protocols.epoch.manifest import verify_manifest
from protocols.epoch.setup import KeygenTerms
from protocols.errors import MalformedMessageError, UnsupportedParameterError

SECOND = b"session-of-more."


def altered(terms, **change) -> bytes:
    return canonical_json(json.loads(terms.encode()) | change)


def test_terms_survive_the_wire(made):
    read = KeygenTerms.decode(made.terms.encode())
    assert read == made.terms
    assert read.digest == made.terms.digest
    assert read.run == "epoch-5-73657373696f"


def test_all_holders_build_the_same_manifest(made):
    built = {made.terms.manifest(share.record).encode() for share in made.shares.values()}
    assert built == {made.manifest.encode()}


def test_any_other_term_gives_another_digest(made):
    others = [
        {"hub": "hub-tainan"},
        {"epoch": 6},
        {"threshold": 3},
        {"holders": ("hub", "telecom", "police")},
        {"session": SECOND},
        {"not_before": 999},
        {"not_after": 2_001},
        {"grace_s": 0},
        {"contributors": {"police": 1}},
        {"askers": {}},
        {"previous": b"p" * 32},
        {"refresh": True},
    ]
    digests = {replace(made.terms, **change).digest for change in others}
    assert len(digests | {made.terms.digest}) == len(others) + 1


def test_refresh_gives_new_shares_of_the_same_key(made):
    terms = made.make_terms(session=SECOND, refresh=True, previous=made.manifest.digest)
    shares = made.make_shares(terms, made.shares)
    manifest = verify_manifest(made.sign(terms.manifest(shares["hub"].record)), made.identities)
    assert manifest.record.public == made.manifest.record.public
    assert manifest.record.generation == 1
    assert manifest.record.key_id != made.manifest.record.key_id


def test_refresh_needs_the_record_in_force_and_a_new_key_none(made):
    record = made.manifest.record
    refresh = made.make_terms(refresh=True)
    with pytest.raises(UnsupportedParameterError, match="needs the record in force"):
        refresh.setup()
    with pytest.raises(UnsupportedParameterError, match="makes a new key"):
        made.terms.setup(record)
    with pytest.raises(UnsupportedParameterError, match="differ from the key"):
        refresh.setup(replace(record, epoch=4))


def test_key_made_under_other_terms_gets_no_manifest(made):
    record = made.manifest.record
    for terms in (made.make_terms(epoch=6), made.make_terms(refresh=True)):
        with pytest.raises(UnsupportedParameterError, match="other terms"):
            terms.manifest(record)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 1}, "threshold"),
        ({"threshold": 4}, "threshold"),
        ({"holders": ["hub"]}, "number of holders"),
        ({"holders": ["hub", "hub", "police"]}, "two holders of one name"),
        ({"holders": ["hub", 7, "police"]}, "holder's name"),
        ({"holders": "hub"}, "holders must be a list"),
        ({"session": "00"}, "session: 1 bytes"),
        ({"epoch": 0}, "epoch"),
        ({"epoch": True}, "epoch"),
        ({"refresh": 1}, "refresh must be true or false"),
        ({"not_after": 1_000}, "not_after must lie after"),
        ({"contributors": {"a": 1, "b": 1}}, "number 1 stands for a and b"),
        ({"contributors": [1]}, "contributors must be an object"),
        ({"format": ""}, "format must be"),
    ],
)
def test_broken_rule_of_the_terms_is_told(made, change, said):
    with pytest.raises(MalformedMessageError, match=said):
        KeygenTerms.decode(altered(made.terms, **change))


def test_other_spelling_of_the_same_terms_is_refused(made):
    with pytest.raises(MalformedMessageError, match="canonical"):
        KeygenTerms.decode(b" " + made.terms.encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_terms_or_malformed(data):
    with suppress(MalformedMessageError):
        KeygenTerms.decode(data)
