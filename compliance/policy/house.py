"""The house rules of policies: what Cedar's validator does not see and what it cannot know.

Cedar passes over a policy whose condition fails, also a `forbid`, and then permits. With a
schema in which every attribute is required, and requests that are checked against it, the
validator leaves three ways to fail, and these are refused here: arithmetic that overflows,
texts that are parsed (addresses, decimals, dates), and tags. Cedar does not know either
that the texts `insurer` and `insurrer` are not the same kind: every text in a condition
must be a word of this project.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import cedarpy

from compliance.agreement.vocabulary import Channel, Role, Title
from compliance.policy.actors import StaffRole
from compliance.policy.errors import PolicyError

ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
MAX_ID = 64
_WORDS = frozenset({"", *Role, *StaffRole, *Channel})
# Conditions may use these operators of Cedar's JSON form, and no other.
_SAFE = frozenset(
    {"==", "!=", "in", "is", "<", "<=", ">", ">=", "!", "&&", "||", "if-then-else", ".", "has",
     "contains", "containsAll", "containsAny", "isEmpty", "Set", "Value", "Var"}
)  # fmt: skip


def check_house_rules(text: str) -> dict[str, str]:
    """Return the house's id of every policy, by Cedar's, if they keep the rules.

    Raises:
        PolicyError: names the policy, the rule and the cure.
    """
    value = json.loads(cedarpy.policies_to_json_str(text))
    if value.get("templates") or value.get("templateLinks"):
        raise PolicyError("policies: a template is used; write the policies out")
    names: dict[str, str] = {}
    for cedar_id, policy in value["staticPolicies"].items():
        name = _checked_id(policy, names)
        names[cedar_id] = name
        for condition in policy["conditions"]:
            for operator in _operators(condition["body"]):
                if operator not in _SAFE:
                    raise PolicyError(
                        f"policy {name}: {operator} may fail when it is evaluated, and a policy "
                        "that fails is passed over; write it without"
                    )
            for word in _texts(condition["body"]):
                if word not in _WORDS:
                    raise PolicyError(
                        f"policy {name}: {word[:32]} is no role, kind or channel; correct it"
                    )
    return names


def titles_of(text: str) -> dict[str, Title]:
    """Return what every policy says of itself, by id."""
    policies = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].values()
    notes = [policy["annotations"] for policy in policies]
    return {note["id"]: Title(note["title"], note["title_zh"]) for note in notes}


def _checked_id(policy: dict[str, Any], names: dict[str, str]) -> str:
    notes = policy.get("annotations", {})
    name = notes.get("id") or ""
    if not ID.fullmatch(name) or len(name) > MAX_ID:
        raise PolicyError(
            f"policies: one has no @id of 1 to {MAX_ID} of a-z, 0-9 and single '-'; give it one"
        )
    if name in names.values():
        raise PolicyError(f"policy {name}: two have this @id; rename one")
    if not notes.get("title") or not notes.get("title_zh"):
        raise PolicyError(
            f"policy {name}: has no @title or no @title_zh; say in one sentence what it does"
        )
    return str(name)


def _operators(body: Any) -> Iterator[str]:
    """Yield the operators of an expression; its values and attribute names are none."""
    if not isinstance(body, dict) or len(body) != 1:
        yield "an unknown expression"
        return
    ((operator, inner),) = body.items()
    yield operator
    if operator in {"Value", "Var"}:
        return
    if operator == "Set":
        parts = inner
    elif operator == "is":
        parts = [inner["left"], *([inner["in"]] if "in" in inner else [])]
    elif isinstance(inner, dict):
        parts = [part for key, part in inner.items() if key in _OPERANDS]
    else:
        parts = [inner]
    for part in parts:
        yield from _operators(part)


_OPERANDS = {"left", "right", "arg", "if", "then", "else"}


def _texts(body: Any) -> Iterator[str]:
    """Yield the texts that an expression compares with."""
    if isinstance(body, dict):
        for key, inner in body.items():
            if key == "Value" and isinstance(inner, str):
                yield inner
            elif key not in {"attr", "entity_type"}:
                yield from _texts(inner)
    elif isinstance(body, list):
        for inner in body:
            yield from _texts(inner)
