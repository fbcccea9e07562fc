"""A manifest is believed only if all its holders signed it and it says one thing throughout."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import canonical_json
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import (
    EpochManifest,
    SignedManifest,
    sign_manifest,
    verify_manifest,
)
from protocols.epoch.succession import verify_succession
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.lookup.request import Purpose
from protocols.oprf.errors import WrongEpochError, WrongShareError


def altered(manifest, **change) -> bytes:
    """Write a manifest's JSON with other fields, as someone without its class could."""
    return canonical_json(json.loads(manifest.encode()) | change)


def test_manifest_survives_the_wire(made):
    signed = SignedManifest.parse(made.signed.format())
    assert signed == made.signed
    manifest = verify_manifest(signed, made.identities, now=1_500)
    assert manifest == made.manifest
    assert manifest.epoch == 5
    assert len(manifest.digest) == 32
    assert json.loads(made.signed.format())["manifest"]["holders"] == ["hub", "police", "telecom"]


def test_validity_is_half_open_and_grace_extends_service_alone(made):
    manifest = made.manifest
    assert [manifest.covers(now) for now in (999, 1_000, 1_999, 2_000)] == [
        False,
        True,
        True,
        False,
    ]
    assert [manifest.serves(now) for now in (999, 1_000, 2_099, 2_100)] == [
        False,
        True,
        True,
        False,
    ]
    for now in (999, 2_100):
        with pytest.raises(WrongEpochError, match="not served"):
            verify_manifest(made.signed, made.identities, now=now)
    verify_manifest(made.signed, made.identities)


@pytest.mark.parametrize("name", ["hub", "police", "telecom"])
def test_missing_signature_is_refused(made, name):
    signatures = {k: v for k, v in made.signed.signatures.items() if k != name}
    with pytest.raises(InvalidProofError, match=f"signature of {name} is missing"):
        verify_manifest(replace(made.signed, signatures=signatures), made.identities)


def test_foreign_signature_is_refused(made):
    extra = made.signed.signatures | {"insurer": sign_manifest(made.keys["insurer"], made.manifest)}
    with pytest.raises(InvalidProofError, match="insurer, which is not one of its holders"):
        verify_manifest(replace(made.signed, signatures=extra), made.identities)


def test_wrong_signature_is_refused(made):
    swapped = made.signed.signatures | {"police": made.signed.signatures["hub"]}
    with pytest.raises(InvalidProofError, match="signature of police: signature does not hold"):
        verify_manifest(replace(made.signed, signatures=swapped), made.identities)


def test_holder_without_pinned_key_is_refused(made):
    known = {name: key for name, key in made.identities.items() if name != "telecom"}
    with pytest.raises(InvalidProofError, match="no identity key of telecom is pinned"):
        verify_manifest(made.signed, known)


def test_one_identity_key_under_two_names_is_refused(made):
    shared = made.keys | {"telecom": made.keys["police"]}
    signatures = {n: sign_manifest(shared[n], made.manifest) for n in made.terms.holders}
    known = {name: key.public_key() for name, key in shared.items()}
    with pytest.raises(InvalidProofError, match="same identity key"):
        verify_manifest(replace(made.signed, signatures=signatures), known)


def test_record_whose_shares_do_not_fit_the_key_is_refused(made):
    record = made.manifest.record
    first, second, third = record.public_shares
    forged = replace(record, public_shares=(first, third, second))
    with pytest.raises(WrongShareError):
        verify_manifest(made.sign(replace(made.manifest, record=forged)), made.identities)


READABLE = {
    "suite": "P256-SHA256",
    "epoch": 6,
    "generation": 1,
    "threshold": 3,
    "holders": ["hub", "telecom", "police"],
    "public_key": "00" * 32,
    "public_shares": ["00" * 32] * 3,
}


@pytest.mark.parametrize("name", READABLE)
def test_readable_field_that_differs_from_the_record_is_refused(made, name):
    with pytest.raises(MalformedMessageError, match=f"{name} differs from the key record"):
        EpochManifest.decode(altered(made.manifest, **{name: READABLE[name]}))


def test_true_is_not_the_number_one(made):
    wrong = altered(made.manifest, contributors={"police": True})
    with pytest.raises(MalformedMessageError, match="number of police"):
        EpochManifest.decode(wrong)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contributors": {"police": 1, "telecom": 1}}, "number 1 stands for police and telecom"),
        ({"contributors": {"police": 0}}, "number of police"),
        ({"contributors": {"police": 65_536}}, "number of police"),
        ({"contributors": {"Police": 1}}, "contributor's name"),
        ({"contributors": []}, "contributors must be an object"),
        ({"askers": {"insurer": {"quota": 5, "purposes": []}}}, "insurer: grant: no purpose"),
        ({"askers": {"insurer": {"quota": 0, "purposes": ["online"]}}}, "insurer: grant: quota"),
        ({"askers": {"insurer": {"quota": 5, "purposes": ["sale"]}}}, "a purpose is unknown"),
        ({"askers": {"insurer": {"quota": 5}}}, "the field purposes is missing"),
        ({"askers": {"-": {"quota": 5, "purposes": ["online"]}}}, "asker's name"),
        ({"askers": None}, "askers must be an object"),
        ({"not_after": 1_000}, "not_after must lie after not_before"),
        ({"not_before": 2_001}, "not_after must lie after not_before"),
        ({"not_before": 1.5}, "not_before: must be a whole number"),
        ({"grace_s": -1}, "grace_s"),
        ({"hub": "Hub"}, "hub: must be"),
        ({"previous": "00"}, "previous: 1 bytes"),
        ({"previous": "0A" * 32}, "previous: must be lower-case"),
        ({"previous": 7}, "previous: must be hexadecimal"),
        ({"format": "v2"}, "format must be"),
        ({"extra": 1}, "1 unknown fields"),
        ({"record": "zz"}, "record: must be hexadecimal"),
    ],
)
def test_broken_rule_is_told_by_its_own_message(made, change, said):
    with pytest.raises(MalformedMessageError, match=said):
        EpochManifest.decode(altered(made.manifest, **change))


def test_rules_hold_where_a_manifest_is_made(made):
    with pytest.raises(MalformedMessageError, match="stands for"):
        replace(made.manifest, contributors={"police": 1, "telecom": 1})
    with pytest.raises(MalformedMessageError, match="not_after"):
        replace(made.manifest, not_after=1)
    with pytest.raises(MalformedMessageError, match="no purpose"):
        Grant(5, frozenset())


def test_other_spelling_of_the_same_manifest_is_refused(made):
    twice = {"insurer": {"quota": 5, "purposes": ["online", "online"]}}
    with pytest.raises(MalformedMessageError, match="canonical"):
        EpochManifest.decode(altered(made.manifest, askers=twice))
    with pytest.raises(MalformedMessageError, match="canonical"):
        EpochManifest.decode(made.manifest.encode() + b" ")


def test_signature_holds_for_one_manifest(made):
    longer = replace(made.manifest, not_after=3_000)
    moved = SignedManifest(longer.encode(), made.signed.signatures)
    with pytest.raises(InvalidProofError):
        verify_manifest(moved, made.identities)
    assert longer.digest != made.manifest.digest


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_any_bytes_are_a_manifest_or_malformed(data):
    for read in (EpochManifest.decode, SignedManifest.parse):
        with suppress(MalformedMessageError):
            read(data)


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(name=st.sampled_from(["askers", "holders", "record", "previous", "not_after"]), value=JSON)
def test_any_field_is_read_or_malformed(made, name, value):
    with suppress(MalformedMessageError):
        EpochManifest.decode(altered(made.manifest, **{name: value}))


@given(manifest=JSON, signatures=JSON)
def test_any_signed_object_is_read_or_malformed(manifest, signatures):
    data = canonical_json({"manifest": manifest, "signatures": signatures})
    with suppress(MalformedMessageError):
        SignedManifest.parse(data)


def test_deep_nesting_is_malformed():
    data = b'{"manifest":' + b"[" * 5_000 + b"]" * 5_000 + b',"signatures":{}}'
    with suppress(MalformedMessageError):
        SignedManifest.parse(data)


def test_only_a_later_manifest_of_the_same_hub_follows(made):
    first = made.manifest
    later = replace(first, record=replace(first.record, epoch=6), previous=first.digest)
    verify_succession(first, later)
    with pytest.raises(InvalidProofError, match="another hub"):
        verify_succession(first, replace(later, hub="hub-tainan"))
    for before, after in ((first, first), (later, first)):
        with pytest.raises(InvalidProofError, match="does not come after"):
            verify_succession(before, after)


def test_refresh_keeps_the_public_key(made):
    record = made.manifest.record
    refreshed = replace(record, generation=1)
    verify_succession(made.manifest, replace(made.manifest, record=refreshed))
    other = replace(refreshed, public=record.public_shares[0])
    with pytest.raises(InvalidProofError, match="second public key for epoch 5"):
        verify_succession(made.manifest, replace(made.manifest, record=other))


def test_contributor_numbers_are_never_given_again(made):
    record = replace(made.manifest.record, epoch=6)
    later = replace(made.manifest, record=record)
    verify_succession(made.manifest, replace(later, contributors={"bank": 3, "police": 1}))
    with pytest.raises(InvalidProofError, match="number 2 of bank belonged to telecom"):
        verify_succession(made.manifest, replace(later, contributors={"bank": 2}))
    with pytest.raises(InvalidProofError, match="police has number 4, it had 1"):
        verify_succession(made.manifest, replace(later, contributors={"police": 4}))


def test_grant_names_its_purposes(made):
    grant = made.manifest.askers["insurer"]
    assert Purpose.COUNTER in grant.purposes
    assert Purpose.PUBLISH not in grant.purposes
    assert Grant.from_fields(grant.fields(), "grant") == grant
