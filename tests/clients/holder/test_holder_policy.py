"""A holder's own rules: what each of them refuses, and how the file is read."""

import json
from dataclasses import replace

import pytest

from clients.holder.policy import DEFAULT_DAYS, DEFAULT_QUOTA, load_policy, parse_policy
from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import NO_PREVIOUS
from protocols.epoch.setup import KeygenTerms
from protocols.lookup.request import Purpose

NOW = 1_800_000_000
DAY_S = 24 * 3600
KNOWN = {"hub", "police", "telecom", "insurer"}
POLICY = {
    "holders": ["hub", "police", "telecom"], "min_threshold": 2, "max_quota": 1000,
    "max_days": 40, "decide": "policy",
}  # fmt: skip
TERMS = KeygenTerms(
    hub="fraud-hub", epoch=1, threshold=2, holders=("hub", "police", "telecom"),
    session=b"1" * 16, not_before=NOW, not_after=NOW + 37 * DAY_S, grace_s=3 * DAY_S,
    contributors={"police": 1}, previous=NO_PREVIOUS,
    askers={"insurer": Grant(1000, frozenset({Purpose.COUNTER}))},
)  # fmt: skip


def test_terms_at_every_limit_are_accepted():
    parse_policy(POLICY).judge(TERMS, known=KNOWN)


@pytest.mark.parametrize(
    ("policy", "terms", "reason"),
    [
        ({"decide": "never"}, {}, "takes part in no new epoch"),
        ({"holders": ["hub", "telecom"]}, {}, "police may hold no share"),
        ({"min_threshold": 3}, {}, "threshold: 2 is below this holder's 3"),
        ({}, {"grace_s": 3 * DAY_S + 1}, "days: 41 with the grace"),
        ({"max_quota": 999}, {}, "quota: 1000 for insurer is over this holder's 999"),
        (
            {},
            {"askers": {"bank": Grant(5, frozenset({Purpose.COUNTER}))}},
            "bank: its identity key is not pinned",
        ),
    ],
)
def test_broken_rule_is_the_reason(policy, terms, reason):
    with pytest.raises(NotPermittedError, match=reason):
        parse_policy(POLICY | policy).judge(replace(TERMS, **terms), known=KNOWN)


def test_first_start_writes_a_cautious_policy(tmp_path):
    path = tmp_path / "holder" / "policy.json"
    written = load_policy(path, peers=["insurer", "police"], ours="telecom", hub="hub")
    assert written == parse_policy(json.loads(path.read_text()))
    assert written.holders == {"hub", "insurer", "police", "telecom"}
    assert (written.max_quota, written.max_days) == (DEFAULT_QUOTA, DEFAULT_DAYS)
    assert (written.min_threshold, written.decide) == (2, "policy")
    path.write_text(json.dumps(POLICY))
    # What the operator has written is never replaced.
    assert load_policy(path, peers=[], ours="telecom", hub="hub").max_quota == 1000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"colour": 1}, "unknown fields"),
        ({"holders": "hub"}, "holders must be of type list"),
        ({"holders": ["Hub"]}, "must list partners' names"),
        ({"holders": [5]}, "must list partners' names"),
        ({"min_threshold": 1}, "min_threshold must be at least 2"),
        ({"max_quota": 0}, "max_quota must be at least 1"),
        ({"max_days": True}, "max_days must be of type whole number"),
        ({"decide": "hand"}, "decide must be policy or never"),
    ],
)
def test_wrong_policy_file_names_field_and_cure(change, reason):
    with pytest.raises(ConfigError, match=reason):
        parse_policy(POLICY | change)


def test_policy_without_a_field_is_refused():
    with pytest.raises(ConfigError, match="max_quota is missing"):
        parse_policy({name: value for name, value in POLICY.items() if name != "max_quota"})
