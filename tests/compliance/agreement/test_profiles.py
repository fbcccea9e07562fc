"""Profiles are data with sources, and an agreement keeps the rules of its jurisdiction."""

import json
from dataclasses import replace

import pytest

from compliance.agreement.conformity import check_against_profile
from compliance.agreement.document import Agreement
from compliance.agreement.drafting import draft_agreement
from compliance.agreement.profile import (
    Profile,
    Standing,
    Unit,
    shipped_bytes,
    shipped_profile,
)
from compliance.agreement.terms import Special
from compliance.agreement.vocabulary import Role, What
from protocols.errors import MalformedMessageError, UnsupportedParameterError


@pytest.mark.parametrize("name", ["tw", "eu"])
def test_every_item_has_its_source_and_both_languages(name):
    profile = shipped_profile(name)
    for item in (*profile.clocks, *profile.retention, *profile.rights,
                 *profile.special_categories, *profile.bases):  # fmt: skip
        assert len(item.source) > 5
    for sector in profile.sectors:
        assert profile.clocks_of(sector.id), f"{sector.id} has no clock"
    assert {sector.role for sector in profile.sectors} == set(Role)
    assert len({basis.id for basis in profile.bases}) == len(profile.bases)


def test_clocks_of_taiwan_differ_by_sector():
    profile = shipped_profile("tw")
    first = {sector.id: profile.clocks_of(sector.id)[0].hours for sector in profile.sectors}
    assert first["telecom"] == 1
    assert first["life-insurance"] == 72


def test_deadlines_of_rights():
    taiwan = {right.id: right for right in shipped_profile("tw").rights}
    assert (taiwan["access"].deadline.count, taiwan["access"].extension.count) == (15, 15)
    assert (taiwan["delete"].deadline.count, taiwan["delete"].extension.count) == (30, 30)
    europe = {right.id: right for right in shipped_profile("eu").rights}
    assert (europe["access"].deadline.count, europe["access"].deadline.unit) == (1, Unit.MONTHS)


@pytest.mark.parametrize("name", ["tw", "eu"])
def test_the_usual_draft_keeps_its_profile(world, name):
    profile = shipped_profile(name)
    parties = [replace(party, country=profile.countries[0]) for party in world.agreement.parties]
    drafted = draft_agreement(
        hub="lianfang.example", name="joint-defence", profile=profile, parties=parties,
        contracts=world.agreement.contracts, not_before=1, not_after=9,
    )  # fmt: skip
    check_against_profile(drafted, profile)
    assert Agreement.decode(drafted.encode()) == drafted


def flow_changed(agreement, what, source, recipient, **changes):
    flows = tuple(
        replace(flow, **changes)
        if (flow.what, flow.source, flow.recipient) == (what, source, recipient)
        else flow
        for flow in agreement.flows
    )
    assert flows != agreement.flows
    return replace(agreement, flows=flows)


@pytest.mark.parametrize(
    ("direction", "changes", "said"),
    [
        # Inquiry between institutions is not for telecoms, nor about what an insurer keeps.
        ((What.REPORT, "telecom", "insurer"), {"basis": "tw/fraud-act-8-2"}, "does not apply"),
        # Victims' data goes from the police to financial institutions, not from a telecom.
        ((What.REPORT, "telecom", "insurer"), {"basis": "tw/fraud-act-7-2"}, "role telecom"),
        # A basis of companies is none for an agency, and the other way round.
        ((What.REPORT, "police", "insurer"), {"basis": "tw/pdpa-20-4"}, "role police"),
        ((What.SCORE, "telecom", "insurer"), {"basis": "tw/pdpa-16-4"}, "role telecom"),
        # Who gives and who receives rest on different articles.
        ((What.SCORE, "telecom", "insurer"), {"basis": "tw/pdpa-19-2"}, "one who gives"),
        ((What.SCORE, "telecom", "insurer"), {"recipient_basis": "tw/pdpa-20"}, "who receives"),
        ((What.SCORE, "telecom", "insurer"), {"basis": "tw/nothing"}, "no basis of the profile"),
        # Victims' data is for care: no training and no score may rest on it.
        ((What.TRAINING, "police", "insurer"), {"basis": "tw/fraud-act-7-2"}, "cover training"),
        ((What.SCORE, "police", "insurer"), {"basis": "tw/fraud-act-7-2"}, "cover score"),
        # Special data has bases of its own, which carry nothing else.
        ((What.SCORE, "telecom", "insurer"), {"basis": "tw/pdpa-6-1-1"}, "one who gives"),
    ],
)
def test_a_basis_that_does_not_fit_is_refused(world, direction, changes, said):
    changed = flow_changed(world.agreement, *direction, **changes)
    with pytest.raises(UnsupportedParameterError, match=said):
        check_against_profile(changed, shipped_profile("tw"))


def test_victims_data_may_go_from_police_to_the_insurer(world):
    changed = flow_changed(
        world.agreement, What.REPORT, "police", "insurer", basis="tw/fraud-act-7-2"
    )
    check_against_profile(changed, shipped_profile("tw"))


def test_retention_below_the_floor_is_refused(world):
    short = replace(world.agreement.retention, log_months=59)
    with pytest.raises(UnsupportedParameterError, match=r"at least 60 \(FSC rules"):
        check_against_profile(replace(world.agreement, retention=short), shipped_profile("tw"))


def test_a_party_abroad_and_a_foreign_sector_are_refused(world):
    first, *others = world.agreement.parties
    abroad = replace(world.agreement, parties=(replace(first, country="JP"), *others))
    with pytest.raises(UnsupportedParameterError, match="outside the profile"):
        check_against_profile(abroad, shipped_profile("tw"))
    banking = replace(world.agreement, parties=(replace(first, sector="banking"), *others))
    with pytest.raises(UnsupportedParameterError, match="no sector"):
        check_against_profile(banking, shipped_profile("tw"))


def test_special_data_needs_a_law_of_its_own(world):
    convictions = replace(
        world.agreement, special=(Special("police", "criminal-record", "tw/pdpa-6-1-1"),)
    )
    check_against_profile(convictions, shipped_profile("tw"))
    for wrong in (
        Special("police", "criminal-record", "tw/pdpa-16-4"),
        Special("police", "taste", "tw/pdpa-6-1-1"),
        Special("police", "criminal-record", "tw/pdpa-6-1-6"),
    ):
        with pytest.raises(UnsupportedParameterError):
            check_against_profile(replace(world.agreement, special=(wrong,)), shipped_profile("tw"))


def test_another_edition_of_a_profile_is_not_taken_for_it(world):
    value = json.loads(shipped_bytes("tw"))
    value["retention"][0]["at_least_months"] = 12
    edited = Profile.parse(json.dumps(value).encode())
    with pytest.raises(UnsupportedParameterError, match="another edition"):
        check_against_profile(world.agreement, edited)


@pytest.mark.parametrize(
    ("section", "field", "item"),
    [
        ("clocks", "hours", 0),
        ("bases", "standing", "perhaps"),
        ("bases", "roles", ["bank"]),
        ("rights", "deadline", {"count": 1, "unit": "weeks"}),
        ("retention", "what", "memory"),
        ("special_categories", "title", {"en": "x"}),
    ],
)
def test_a_defect_of_a_profile_names_the_field(section, field, item):
    value = json.loads(shipped_bytes("tw"))
    value[section][0][field] = item
    with pytest.raises(MalformedMessageError, match=rf"profile\.{section}\[0\]\.{field}"):
        Profile.parse(json.dumps(value).encode())


def test_what_is_to_be_confirmed_is_marked():
    standing = {basis.id: basis.standing for basis in shipped_profile("tw").bases}
    assert standing["tw/fraud-act-10"] is Standing.TO_BE_CONFIRMED
    assert standing["tw/fraud-act-8-2"] is Standing.NOT_APPLICABLE
