"""The standing policy: one refusal for every rule, each with its code, and nothing changed."""

import json

import pytest

from clients.node.joining import DEFAULT_POLICY
from clients.node.policy import Policy
from protocols.errors import UnsupportedParameterError
from protocols.phase import Status

# By case: what the policy of the telecom says, what the plan asks, code and words of the refusal.
REFUSALS = {
    "purpose": ({}, {"purpose": "https://example.org/marketing"}, "purpose", "not among those"),
    "epsilon": ({}, {"epsilon": 1.5}, "epsilon", "epsilon 1.5 is over this partner's 1 a run"),
    "delta": ({}, {"delta": 1e-4}, "delta", "over this partner's 1e-05"),
    "steps": ({"max_steps": 4}, {}, "steps", "steps 5 is over this partner's 4"),
    "rows": ({"min_rows": 101}, {}, "min_rows", "at least 101 rows must be asked for"),
    "pseudonyms": (
        {"pseudonyms": ["oblivious"]},
        {},
        "pseudonyms",
        "keyed pseudonyms are not allowed here",
    ),
    "membership": ({}, {"membership": "shared"}, "membership", "shared is not allowed here"),
    "columns": ({"columns": ["calls"]}, {}, "columns", "1 columns may not be used (tariff)"),
    "budget": ({"cap_epsilon": 0.5}, {}, "budget_exhausted", "this partner's cap is 0.5"),
}


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
def test_plan_that_breaks_a_rule_is_refused_and_nothing_changes(town, case):
    policy, choices, code, words = case
    town.offer("telecom", town.plan(run="earlier"))  # so that ledger and folders exist
    town.allow("telecom", **policy)
    before = town.files("telecom")
    reply = town.offer("telecom", town.plan(**choices))
    assert (reply.status, reply.code) == (Status.REFUSED, code)
    assert words in reply.reason
    assert town.files("telecom") == before


def test_plan_within_the_policy_is_accepted(town):
    reply = town.offer("telecom", town.plan())
    assert reply.status is Status.DONE
    assert len(bytes.fromhex(json.loads(reply.body)["announcement"])) > 64


def test_hub_may_be_kept_from_computing(town):
    town.allow("police", hub_computes=False)
    del town.requests["telecom"]
    reply = town.offer("police", town.plan())
    assert (reply.code, reply.status) == ("hub_computes", Status.REFUSED)


@pytest.mark.parametrize("name", ["police", "telecom"])
def test_partner_with_another_key_is_refused_even_if_it_is_ourselves(town, name):
    town.requests[name]["identity"] = "ab" * 32
    before = town.files("telecom")
    reply = town.offer("telecom", town.plan())
    assert reply.code == "unknown_partner"
    assert name in reply.reason
    assert town.files("telecom") == before


def test_plan_without_us_is_refused(town):
    del town.requests["telecom"]
    reply = town.offer("telecom", town.plan())
    assert (reply.status, reply.code) == (Status.REFUSED, "unsupported_parameter")
    assert "telecom" in reply.reason


def test_column_outside_the_contract_is_refused(town):
    town.requests["telecom"]["contract"]["columns"][0]["name"] = "messages"
    reply = town.offer("telecom", town.plan())
    assert reply.code == "columns"
    assert "1 columns are not in this partner's contract (messages)" in reply.reason


def test_label_must_be_where_the_contract_says(town, changed):
    plan = town.plan()
    columns = {"insurer": ("age",)}
    partners = tuple(
        changed(partner, columns=columns.get(partner.name, partner.columns), norm=0.5)
        for partner in plan.partners
    )
    reply = town.offer("telecom", changed(plan, partners=partners, label_holder="telecom"))
    assert reply.code == "label"


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nothing"])
def test_what_is_no_plan_changes_nothing(town, text):
    before = town.files("telecom")
    reply = town.ask("telecom", "plan", {"plan": text})
    assert (reply.status, reply.code) == (Status.FAILED, "malformed_message")
    assert town.files("telecom") == before


def test_epsilon_of_nothing_is_no_plan(town):
    text = town.plan().encode().decode()
    for wrong in ("0.0", "-1.0", "NaN"):
        reply = town.ask(
            "telecom", "plan", {"plan": text.replace('"epsilon":1.0', f'"epsilon":{wrong}')}
        )
        assert (reply.status, reply.code) == (Status.FAILED, "malformed_message")


WRONG = [
    ("purposes", "https://w3id.org/dpv"),
    ("purposes", [1]),
    ("membership", ["open"]),
    ("pseudonyms", ["open"]),
    ("columns", "every"),
    ("columns", None),
    ("hub_computes", 1),
    ("decide", "maybe"),
    ("max_epsilon", 0),
    ("max_epsilon", float("nan")),
    ("max_epsilon", True),
    ("cap_epsilon", float("inf")),
    ("max_delta", 1.0),
    ("max_steps", 1.5),
    ("min_rows", 0),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_field_of_a_policy_is_named(name, value):
    with pytest.raises(UnsupportedParameterError, match=f"^{name}: .*correct it$"):
        Policy.parse(DEFAULT_POLICY | {name: value})


def test_unknown_and_missing_fields_of_a_policy_are_named():
    with pytest.raises(UnsupportedParameterError, match=r"^colour: missing or unknown"):
        Policy.parse(DEFAULT_POLICY | {"colour": "red"})
    with pytest.raises(UnsupportedParameterError, match=r"^decide: missing or unknown"):
        Policy.parse({key: value for key, value in DEFAULT_POLICY.items() if key != "decide"})
