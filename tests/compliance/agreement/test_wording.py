"""What people read: everything that is agreed is said, and every difference is told to whom."""

from dataclasses import replace

from compliance.agreement.profile import shipped_profile
from compliance.agreement.vocabulary import What
from compliance.agreement.wording import Section, compare, statements


def test_everything_that_binds_is_said_in_both_languages(world):
    agreement = world.agreement
    english, chinese = (
        statements(agreement, language, shipped_profile("tw")) for language in ("en", "zh")
    )
    assert [item.key for item in english] == [item.key for item in chinese]
    assert len({item.key for item in english}) == len(english)
    assert {item.section for item in english} == set(Section)
    text = "\n".join(f"{item.label}: {item.value}" for item in english)
    for party in agreement.parties:
        assert party.identity.hex() in text
    for flow in agreement.flows:
        assert f"flow {flow.name}" in {item.key for item in english}
    assert "PDPA Art. 16 (4)" in text
    assert "個人資料保護法" in "".join(item.value for item in chinese) or "防止他人權益" in "".join(
        item.value for item in chinese
    )


def test_what_is_to_be_confirmed_is_said(world):
    flows = tuple(
        replace(flow, basis="tw/fraud-act-10")
        if (flow.what, flow.source) == (What.REPORT, "police")
        else flow
        for flow in world.agreement.flows
    )
    said = statements(replace(world.agreement, flows=flows), "en", shipped_profile("tw"))
    assert any("to be confirmed" in item.value and "counsel" in item.value for item in said)


def test_the_same_version_has_no_differences(world):
    assert compare(world.agreement, world.agreement) == []


def test_differences_say_what_changes_and_for_whom(world):
    agreement = world.agreement
    caps = replace(agreement.caps, recipients={**agreement.caps.recipients, "insurer": 2.0})
    flows = tuple(flow for flow in agreement.flows if flow.what is not What.SCORE)
    changed = compare(agreement, world.after(caps=caps, flows=flows))
    told = {(change.whom, change.label): change for change in changed}
    cap = told[("insurer",), "epsilon towards insurer"]
    assert (cap.before, cap.after, cap.direction, cap.kind) == ("3", "2", "less", "changed")
    gone = told[("telecom", "insurer"), "joint scores: telecom → insurer"]
    assert (gone.after, gone.kind) == (None, "removed")
    assert {change.label for change in changed} == {
        "version", "in force", "epsilon towards insurer", "joint scores: telecom → insurer",
        "joint scores: police → insurer",
    }  # fmt: skip


def test_every_field_that_changes_is_told(world):
    agreement = world.agreement
    asker = agreement.askers["insurer"]
    variants = {
        "title": replace(agreement, title=replace(agreement.title, en="Other")),
        "quota": replace(
            agreement, askers={**agreement.askers, "insurer": replace(asker, quota=7)}
        ),
        "membership": replace(
            agreement, training=replace(agreement.training, membership=("hidden", "shared"))
        ),
        "min_rows": replace(agreement, training=replace(agreement.training, min_rows=5)),
        "threshold": replace(agreement, keys=replace(agreement.keys, threshold=3)),
        "delta": replace(agreement, caps=replace(agreement.caps, delta=1e-6)),
        "retention": replace(
            agreement, retention=replace(agreement.retention, scores_months=1)
        ),
        "release": replace(
            agreement, approvers=replace(agreement.approvers, release=("insurer",))
        ),
        "contract": replace(
            agreement,
            contracts={**agreement.contracts,
                       "police": replace(agreement.contracts["police"], digest=bytes(32))},
        ),
        "sector": replace(
            agreement,
            parties=(replace(agreement.parties[0], sector="other"), *agreement.parties[1:]),
        ),
    }  # fmt: skip
    for name, variant in variants.items():
        assert len(compare(agreement, variant)) == 1, name
