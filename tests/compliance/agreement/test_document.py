"""The document: one canonical form, strict reading, and errors that name field, rule, cure."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance.agreement.document import Agreement
from compliance.agreement.terms import Flow
from compliance.agreement.vocabulary import What, purposes
from protocols.errors import MalformedMessageError

SOMEWHERE = "https://w3id.org/dpv#Marketing"


def put(value, path, item):
    """Set a field deep in JSON; a path of `parties.0.sector` or `caps.delta`."""
    *way, last = path.split(".")
    for step in way:
        value = value[int(step)] if step.isdecimal() else value[step]
    if item is DELETE:
        del value[last]
    else:
        value[int(last) if last.isdecimal() else last] = item


DELETE = object()


def test_written_and_read_it_is_the_same(world):
    data = world.agreement.encode()
    assert Agreement.decode(data) == world.agreement
    assert Agreement.decode(data).digest == world.agreement.digest


def test_a_file_spelled_otherwise_has_the_same_hash(world):
    spelled = json.dumps(world.agreement.format(), indent=3, ensure_ascii=True).encode()
    assert Agreement.parse_text(spelled).digest == world.agreement.digest
    with pytest.raises(MalformedMessageError, match="canonical"):
        Agreement.decode(spelled)


@pytest.mark.parametrize(
    ("path", "item", "said"),
    [
        ("format", "other", "agreement.format"),
        ("hub", "Not A Domain", "agreement.hub"),
        ("name", "Joint", "agreement.name"),
        ("version", True, "agreement.version"),
        ("version", 2, "supersedes"),
        ("title", {"en": "x"}, "zh is missing"),
        ("parties.0.identity", "0A" * 32, "hexadecimal"),
        ("parties.0.role", "bank", "insurer, telecom, police, hub"),
        ("parties.0.country", "Taiwan", "ISO 3166"),
        ("parties.0.name", "exchange", "its name is hub"),
        ("parties.1.name", "police", "twice"),
        ("purposes.0", SOMEWHERE, "closed list"),
        ("purposes", [], "1 to"),
        ("flows.0.from", "nobody", "not a party"),
        ("flows.0.what", "gossip", "training, lookup, report, score"),
        ("flows.0.basis", "because", None),
        ("flows.0.basis", "Because we can", "legal basis"),
        ("flows.0.purposes", [SOMEWHERE], "purposes of this agreement"),
        ("contracts.police.digest", "00", "64 hexadecimal"),
        ("contracts.police.columns", ["a", "a"], "twice"),
        ("contracts.hub", {"digest": "00" * 32, "columns": [], "label": False}, "not a party"),
        ("caps.run_epsilon", 4.0, "at most 3"),
        ("caps.recipients.insurer", 5, "at most 3"),
        ("caps.total_epsilon", 0, "greater than 0"),
        ("caps.delta", "1e-5", "must be a number"),
        ("caps.delta", 0.5, "at most 0.001"),
        ("training.compute", ["insurer", "telecom"], "3 to"),
        ("training.compute.0", "nobody", "not a party"),
        ("training.membership", ["open"], "hidden and shared"),
        ("training.pseudonyms", ["plain"], "oblivious and keyed"),
        ("training.min_rows", 0, "1.."),
        ("keys.threshold", 1, "2..3"),
        ("keys.threshold", 4, "2..3"),
        ("keys.holders", ["hub"], "2 to"),
        ("askers.insurer.quota", 0, "1.."),
        ("askers.insurer.channels", {}, "names none"),
        ("askers.insurer.channels", {"street": SOMEWHERE}, "unknown channel street"),
        ("askers.insurer.channels.counter", SOMEWHERE, "purpose of this agreement"),
        ("approvers.run", ["insurer", "telecom"], "police has a contract"),
        ("approvers.epoch", ["hub", "police"], "telecom has a key share"),
        ("retention.log_months", 0, "1.."),
        ("not_after", 1_800_000_000, "after not_before"),
        ("supersedes", "00" * 32, "null in version 1"),
        ("special", [{"party": "hub", "category": "medical", "basis": "tw/x"}], "not a party"),
        ("caps.extra", 1, "unknown field extra"),
        ("caps.delta", DELETE, "delta is missing"),
    ],
)  # fmt: skip
def test_a_defect_names_the_field_and_the_rule(world, path, item, said):
    value = world.agreement.format()
    put(value, path, item)
    if said is None:
        Agreement.parse(value)  # whether it is a basis, the profile knows
        return
    with pytest.raises(MalformedMessageError, match=said) as told:
        Agreement.parse(value)
    assert ";" in str(told.value) or "hub" in str(told.value), "the message names a cure"


def test_two_parties_with_one_key_are_refused(world):
    first, second, *others = world.agreement.parties
    twins = (first, replace(second, identity=first.identity), *others)
    with pytest.raises(MalformedMessageError, match="twice"):
        replace(world.agreement, parties=twins)


def test_one_direction_stands_there_once(world):
    flow = world.agreement.flows[0]
    again = replace(flow, basis="tw/pdpa-20-6")
    with pytest.raises(MalformedMessageError, match="twice"):
        replace(world.agreement, flows=(*world.agreement.flows, again))


def test_every_purpose_has_both_titles_and_an_iri_of_dpv():
    assert len(purposes()) >= 3
    for iri, title in purposes().items():
        assert iri.startswith("https://w3id.org/dpv#")
        assert title.en
        assert any("\u4e00" <= letter <= "\u9fff" for letter in title.zh)


def test_hash_changes_with_every_part(world):
    agreement = world.agreement
    variants = [
        replace(agreement, hub="other.example"),
        replace(agreement, flows=agreement.flows[1:]),
        replace(agreement, caps=replace(agreement.caps, delta=1e-6)),
        replace(agreement, retention=replace(agreement.retention, log_months=85)),
        replace(agreement, not_after=agreement.not_after + 1),
    ]
    assert len({item.digest for item in [agreement, *variants]}) == len(variants) + 1


def test_a_flow_covers_its_own_direction_and_purpose_only(world):
    flow: Flow = next(item for item in world.agreement.flows if item.what is What.REPORT)
    found = world.agreement.flow
    assert found(What.REPORT, flow.source, flow.recipient, flow.purposes[0]) == flow
    assert found(What.REPORT, flow.recipient, flow.source, flow.purposes[0]) is None
    assert found(What.REPORT, flow.source, flow.recipient, SOMEWHERE) is None
    assert found(What.SCORE, flow.recipient, flow.source, flow.purposes[0]) is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_agreement_or_malformed(data):
    with pytest.raises(MalformedMessageError):
        Agreement.decode(data)


@settings(
    max_examples=150,
    deadline=None,
    # The agreement of the fixture is never changed, only copies of its JSON form.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_json_in_any_field_is_read_or_malformed(world, data):
    value = world.agreement.format()
    name = data.draw(st.sampled_from(sorted(value)))
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=4,
    )
    item = data.draw(junk)
    if isinstance(value[name], dict) and value[name] and data.draw(st.booleans()):
        value[name][data.draw(st.sampled_from(sorted(value[name])))] = item
    else:
        value[name] = item
    try:
        Agreement.parse(value)
    except MalformedMessageError:
        return
