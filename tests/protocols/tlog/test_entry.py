"""Entries: what they hold, what they must not hold, and what is left after an erasure."""

import json
from contextlib import suppress
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dp.events import Composed, Gaussian, SampledGaussian
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.jcs import encode_jcs
from protocols.tlog.entry import Agreement, Charge, Decision, Entry, Outcome, Verb
from protocols.tlog.merkle import hash_leaf, prove_inclusion, root_of, verify_inclusion
from protocols.tlog.private import (
    PrivatePart,
    commit,
    draw_salt,
    pseudonym,
    verify_commitment,
)

PURPOSE = "https://w3id.org/dpv#FraudPreventionAndDetection"
PRIVATE = PrivatePart("A123456789", "case 2026-0815", "caller named an account on the list")
SALT = bytes(range(32))
LOOKUP = Entry(
    sequence=7,
    time=1_795_305_600,
    organisation="insurer",
    actor=pseudonym(b"k" * 32, "clerk@insurer.example"),
    verb=Verb.CONSULT,
    act="evaluate",
    purpose=PURPOSE,
    basis="tw.fraud-act.art-7-ii",
    agreement=Agreement("tri-party-2026", b"a" * 32),
    policy_set=b"p" * 32,
    policies=("lookup.within-purpose", "Quota1"),
    decision=Decision.PERMIT,
    outcome=Outcome.DONE,
    subject_matter="fraud-reports",
    recipients=("insurer",),
    count=12,
    document=None,
    charge=None,
    commitment=commit(PRIVATE.encode(), SALT),
)
EVENT = Composed((Gaussian(2.0, 40), SampledGaussian(1.5e-6, 1e-7, 3)))
CHARGE = Charge("run-20261101", "train/step/3", (("people", "telecom", "insurer"),), EVENT)
RELEASE = replace(LOOKUP, verb=Verb.COMBINE, charge=CHARGE, document=b"d" * 32, sequence=8)
DENIED = replace(
    LOOKUP,
    decision=Decision.DENY,
    outcome=Outcome.REFUSED,
    recipients=(),
    agreement=None,
    policies=(),
)
ENTRIES = [LOOKUP, RELEASE, DENIED]
each = pytest.mark.parametrize("entry", ENTRIES, ids=["lookup", "release", "denied"])


@each
def test_entry_survives_the_wire(entry):
    data = entry.encode()
    assert Entry.decode(data) == entry
    assert encode_jcs(json.loads(data)) == data


@each
def test_cut_or_longer_entry_is_refused(entry):
    data = entry.encode()
    for size in range(len(data)):
        with pytest.raises(MalformedMessageError):
            Entry.decode(data[:size])
    for more in (b" ", b"\n", b"\0", b"{}"):
        with pytest.raises(MalformedMessageError):
            Entry.decode(data + more)


def test_entry_is_written_as_it_was():
    # The form of a written entry never changes: these bytes are the first version's.
    assert LOOKUP.encode().decode() == (
        '{"act":"evaluate","actor":"56cb0826fdfcabde7808093ba7c439eb","agreement":{"digest":"'
        + "61" * 32
        + '","name":"tri-party-2026"},"basis":"tw.fraud-act.art-7-ii","charge":null,'
        '"commitment":"' + LOOKUP.commitment.hex() + '","count":12,"decision":"permit",'
        '"document":null,"organisation":"insurer","outcome":"done",'
        '"policies":["lookup.within-purpose","Quota1"],"policy_set":"' + "70" * 32 + '",'
        f'"purpose":"{PURPOSE}","recipients":["insurer"],"sequence":7,'
        '"subject_matter":"fraud-reports","time":1795305600,"verb":"consult","version":1}'
    )


def test_every_verb_of_the_directive_has_a_word():
    assert [verb.value for verb in Verb] == [
        "collect",
        "alter",
        "consult",
        "disclose",
        "combine",
        "erase",
    ]
    for verb in Verb:
        assert Entry.decode(replace(LOOKUP, verb=verb).encode()).verb is verb


def test_nothing_private_and_no_plain_hash_of_it_stands_in_an_entry():
    data = LOOKUP.encode()
    for text in (PRIVATE.subject, PRIVATE.case, PRIVATE.reason):
        assert text.encode() not in data
    assert commit(PRIVATE.encode(), bytes(32)) != LOOKUP.commitment
    assert LOOKUP.commitment != commit(PRIVATE.encode(), SALT[::-1])


def changed(**changes):
    return encode_jcs(json.loads(RELEASE.encode()) | changes)


def missing(name):
    return encode_jcs({k: v for k, v in json.loads(RELEASE.encode()).items() if k != name})


@pytest.mark.parametrize("name", [*(field.name for field in fields(Entry)), "version"])
def test_entry_without_a_field_is_refused(name):
    with pytest.raises(MalformedMessageError, match="entry"):
        Entry.decode(missing(name))


@pytest.mark.parametrize("value", [None, True, 1.5, "", "x", [], {}, ["x"], {"x": 1}, -1, 10**15])
@pytest.mark.parametrize("name", [*(field.name for field in fields(Entry)), "version"])
def test_field_of_another_kind_is_an_entry_or_malformed(name, value):
    data = changed(**{name: value})
    with suppress(MalformedMessageError):
        assert Entry.decode(data).encode() == data


SECRET = "A123456789"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"subject": SECRET},
        {"subject_hash": "00" * 32},
        {"reason": "free text"},
        {"organisation": SECRET},
        {"organisation": SECRET.lower()},
        {"organisation": "insurer 1"},
        {"organisation": "Insurer"},
        {"organisation": "insurer\n"},
        {"organisation": "保險"},
        {"organisation": "i" * 65},
        {"actor": SECRET},
        {"actor": "00" * 15},
        {"actor": "0" * 31},
        {"actor": "AA" * 16},
        {"verb": "share"},
        {"verb": "CONSULT"},
        {"verb": SECRET},
        {"decision": "maybe"},
        {"decision": "deny"},
        {"outcome": "refused"},
        {"outcome": SECRET},
        {"purpose": "fraud"},
        {"purpose": "http://w3id.org/dpv#X"},
        {"purpose": PURPOSE + "?q=" + SECRET},
        {"purpose": PURPOSE + SECRET},
        {"purpose": "https://w3id.org/" + "a" * 200},
        {"basis": ""},
        {"basis": "0912345678"},
        {"subject_matter": "acct-012345678901"},
        {"agreement": {}},
        {"agreement": {"name": "tri-party-2026"}},
        {"agreement": {"name": "tri-party-2026", "digest": "61" * 31}},
        {"agreement": {"name": "tri-party-2026", "digest": "61" * 32, "more": 1}},
        {"policies": ["a", "a"]},
        {"policies": ["a b"]},
        {"policies": [SECRET]},
        {"policies": [f"p{number}" for number in range(33)]},
        {"recipients": [SECRET]},
        {"recipients": [["insurer"]]},
        {"recipients": "insurer"},
        {"sequence": -1},
        {"sequence": 1.5},
        {"time": True},
        {"time": "1795305600"},
        {"count": 2.0**60},
        {"document": "00"},
        {"document": SECRET},
        {"policy_set": ""},
        {"commitment": None},
        {"commitment": "00" * 31},
        {"charge": {}},
        {"charge": CHARGE.fields() | {"run": SECRET}},
        {"charge": CHARGE.fields() | {"run": "0912345678"}},
        {"charge": CHARGE.fields() | {"label": "a b"}},
        {"charge": CHARGE.fields() | {"scopes": []}},
        {"charge": CHARGE.fields() | {"scopes": [["people", "telecom"]]}},
        {"charge": CHARGE.fields() | {"scopes": [["people", "telecom", SECRET]]}},
        {"charge": CHARGE.fields() | {"scopes": [["people", "telecom", "insurer"]] * 2}},
        {"charge": CHARGE.fields() | {"scopes": {}}},
        {"charge": CHARGE.fields() | {"event": {"kind": "laplace"}}},
        {"charge": CHARGE.fields() | {"event": SECRET}},
        {"charge": CHARGE.fields() | {"more": 1}},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_what_an_entry_must_not_hold_is_refused_and_not_repeated(changes):
    with pytest.raises(MalformedMessageError) as caught:
        Entry.decode(changed(**changes))
    assert SECRET.lower() not in str(caught.value).lower()


def test_other_spelling_is_refused():
    data = LOOKUP.encode()
    for bad in (
        data.replace(b":7,", b": 7,"),
        data.replace(b":7,", b":7.0,"),
        data.replace(b'"insurer"', b'"\\u0069nsurer"'),
        data.replace(b'"version":1', b'"version":1,"version":1'),
        json.dumps(dict(reversed(json.loads(data).items()))).encode(),
        data.decode().encode("utf-16"),
    ):
        with pytest.raises(MalformedMessageError):
            Entry.decode(bad)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"decision": Decision.DENY}, "refused if, and only if"),
        ({"outcome": Outcome.REFUSED}, "refused if, and only if"),
        (
            {"decision": Decision.DENY, "outcome": Outcome.REFUSED},
            "nothing is given or paid",
        ),
    ],
)
def test_senseless_decision_is_not_written(changes, rule):
    with pytest.raises(ValueError, match=rule):
        replace(LOOKUP, **changes)


def test_entry_that_is_too_long_is_refused():
    events = Composed(tuple(Gaussian(1.0 + number / 1e6) for number in range(2_000)))
    with pytest.raises(ValueError, match="at most 65535"):
        replace(RELEASE, charge=replace(CHARGE, event=events)).encode()
    with pytest.raises(MalformedMessageError, match="at most 65535"):
        Entry.decode(b" " * 65_536)


def test_erasure_leaves_every_proof_valid_and_says_nothing():
    salt = draw_salt(lambda size: bytes(range(size)))
    private = PRIVATE.encode()
    entry = replace(LOOKUP, commitment=commit(private, salt))
    leaves = [hash_leaf(replace(entry, sequence=number).encode()) for number in range(9)]
    verify_commitment(entry.commitment, private, salt)
    del salt, private

    def node(level, index):
        return root_of(leaves[index << level : (index + 1) << level])

    verify_inclusion(4, 9, leaves[4], prove_inclusion(4, 9, node), root_of(leaves))


def test_commitment_binds_the_private_part():
    for private, salt in (
        (replace(PRIVATE, subject="A123456788").encode(), SALT),
        (PRIVATE.encode(), SALT[::-1]),
        (PRIVATE.encode(), SALT[:31]),
        (SALT[31:] + PRIVATE.encode(), SALT[:31]),
        (b"", SALT),
    ):
        with pytest.raises(InvalidProofError, match="not what the entry commits to"):
            verify_commitment(LOOKUP.commitment, private, salt)
    with pytest.raises(ValueError, match="31 bytes"):
        commit(b"", SALT[:31])


@given(st.builds(PrivatePart, *[st.text(st.characters(exclude_categories=["Cs"]))] * 3))
def test_private_part_survives_and_hides(part):
    assert PrivatePart.decode(part.encode()) == part
    assert repr(part) == "PrivatePart()"


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "x",
        {"case": "", "reason": ""},
        {"case": "", "reason": "", "subject": 1},
        {"case": "", "reason": "", "subject": "", "more": ""},
        {"case": "", "reason": "", "subject": "x" * 2_001},
    ],
)
def test_what_is_no_private_part_is_refused(value):
    with pytest.raises(MalformedMessageError, match="private part"):
        PrivatePart.decode(encode_jcs(value))


def test_pseudonym_depends_on_key_and_account():
    found = {pseudonym(key, name) for key in (b"k" * 32, b"q" * 32) for name in ("a", "b")}
    assert {len(item) for item in found} == {16}
    assert len(found) == 4
    with pytest.raises(ValueError, match="expected 32"):
        pseudonym(b"short", "a")
