"""A set of policies with its schema, named by a hash over every byte, and what it decides.

The house rules: nothing is permitted that no policy permits; an act, an attribute or a type
that the schema does not know is denied; where anything at all went wrong while policies
were evaluated, the answer is no, because Cedar passes over a policy that fails and would
then permit what it forbids. A set that the schema does not bear out is never used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from typing import Any

import cedarpy

from compliance.agreement.fields import Fields, defect
from compliance.agreement.vocabulary import Title
from compliance.policy.actors import Organisation, Person, Principal, Situation
from compliance.policy.decision import EVALUATION, REQUEST, Decision
from compliance.policy.errors import PolicyError
from compliance.policy.house import check_house_rules, titles_of
from protocols.codec import parse_json
from protocols.jcs import encode_jcs
from protocols.seal.fields import join_fields

FORMAT = "lianfang/policy/set/v1"
SCHEMA = "schema.cedarschema"
SUFFIX = ".cedar"
_DOMAIN = b"lianfang/policy/set-digest/v1"
_SPACE = "Lianfang"
_WHERE = "policies"
_UNKNOWN = "unknown"
_REMEMBERED = 10_000  # answers
_COMMENT = re.compile(r"//[^\n]*")
_ACTION = re.compile(r"\baction\s+(?:\"([^\"]+)\"|(\w+))")
_ACT = re.compile(r"[a-z_]{1,64}", re.ASCII)


class PolicySet:
    """Policies as people wrote them, ready to decide; may be used by several threads."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """Take the files of a set.

        Args:
            texts: by file name; one is the schema, all others end in `.cedar`.

        Raises:
            PolicyError: names the file or policy, the rule and the cure.
        """
        self._texts = dict(sorted(texts.items()))
        names = set(self._texts) - {SCHEMA}
        if SCHEMA not in self._texts or not names:
            raise PolicyError(f"{_WHERE}: {SCHEMA} or every policy is missing; add it")
        if wrong := sorted(name for name in names if not name.endswith(SUFFIX)):
            raise PolicyError(f"{_WHERE}: {wrong[0][:64]} is no {SUFFIX} file; remove it")
        text = "\n".join(self._texts[name] for name in sorted(names))
        schema = self._texts[SCHEMA]
        try:
            self._schema = cedarpy.Schema.from_str(schema)
            self._policies = cedarpy.PolicySet.from_str(text)
            result = cedarpy.validate_policies(text, schema)
        except ValueError as error:
            raise PolicyError(f"{_WHERE}: cannot be read: {_first_line(error)}") from error
        if not result.validation_passed:
            first = result.errors[0] if result.errors else "refused without a reason"
            raise PolicyError(f"{_WHERE}: do not fit the schema: {_first_line(first)}")
        self._answers: dict[object, tuple[bool, tuple[str, ...], str]] = {}
        self._names = check_house_rules(text)
        self._text = text

    @property
    def texts(self) -> Mapping[str, str]:
        """Return the files by name."""
        return dict(self._texts)

    @cached_property
    def digest(self) -> bytes:
        """Name the set in 32 bytes; any other byte in any file gives another name."""
        parts = [part.encode() for item in self._texts.items() for part in item]
        return sha256(join_fields(_DOMAIN, *parts)).digest()

    @cached_property
    def acts(self) -> frozenset[str]:
        """Return all acts that the schema knows; groups of acts are none."""
        return frozenset(_acts(self._texts[SCHEMA]))

    @cached_property
    def titles(self) -> Mapping[str, Title]:
        """Return what every policy says of itself, by id."""
        return titles_of(self._text)

    def decide(
        self,
        principal: Principal,
        act: str,
        resource: Organisation,
        situation: Situation,
        *,
        at: int,
        agreement: bytes | None = None,
        question: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Decide; never raises for what it is asked, but denies.

        Args:
            at: Unix seconds; agreement: hash of the one in force; question: what it was
                asked. The three are for the record and change nothing in the answer.
        """
        allowed, policies, error = self._answer(principal, act, resource, situation)
        return Decision(
            allowed=allowed and not error,
            policies=policies,
            policy_set=self.digest,
            agreement=agreement,
            errors=(error,) if error else (),
            at=at,
            principal=principal,
            # A word that comes from outside is not repeated in a record unless it is one.
            act=act if _ACT.fullmatch(act) else _UNKNOWN,
            resource=resource,
            situation=situation,
            question=question,
        )

    def _answer(
        self, principal: Principal, act: str, resource: Organisation, situation: Situation
    ) -> tuple[bool, tuple[str, ...], str]:
        """Return what Cedar says, which for the same question is always the same."""
        key = (principal, act, resource, situation)
        found = self._answers.get(key)
        if found is None:
            found = self._ask_cedar(principal, act, resource, situation)
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            if not found[2]:
                self._answers[key] = found
        return found

    def _ask_cedar(
        self, principal: Principal, act: str, resource: Organisation, situation: Situation
    ) -> tuple[bool, tuple[str, ...], str]:
        """Return the answer, the policies that decided, and what went wrong, if anything."""
        if act not in self.acts:
            return False, (), REQUEST
        result = cedarpy.is_authorized(
            {
                "principal": _uid(principal),
                "action": {"type": f"{_SPACE}::Action", "id": act},
                "resource": _uid(resource),
                "context": _context(situation),
            },
            self._policies,
            _entities(principal, resource, situation),
            self._schema,
        )
        if result.decision is cedarpy.Decision.NoDecision:
            return False, (), REQUEST
        policies = tuple(sorted(self._names[name] for name in result.diagnostics.reasons))
        error = EVALUATION if result.diagnostics.errors else ""
        return result.decision is cedarpy.Decision.Allow, policies, error

    def encode(self) -> bytes:
        """Write the whole set as one file, for keeping."""
        return encode_jcs({"format": FORMAT, "files": self._texts})

    @classmethod
    def decode(cls, data: bytes) -> PolicySet:
        """Read what `encode` wrote.

        Raises:
            MalformedMessageError: it is something else. PolicyError: it cannot be used.
        """
        fields = Fields.of(parse_json(data, _WHERE), {"format", "files"}, _WHERE)
        texts = fields.mapping("files")
        if fields.values["format"] != FORMAT or not all(
            isinstance(text, str) for text in texts.values()
        ):
            raise defect(_WHERE, f"must be a file of the format {FORMAT}")
        return cls(texts)


def shipped_policies() -> PolicySet:
    """Return the set that comes with the program."""
    folder = files(__package__).joinpath("policies")
    names = [item.name for item in folder.iterdir() if item.name.endswith((SUFFIX, SCHEMA))]
    return PolicySet({name: folder.joinpath(name).read_text(encoding="utf-8") for name in names})


def _acts(schema: str) -> Iterator[str]:
    """Yield the actions of a schema that apply to something; the others are groups."""
    for statement in _COMMENT.sub("", schema).split(";"):
        found = _ACTION.search(statement)
        if found is not None and "appliesTo" in statement:
            yield found.group(1) or found.group(2)


def _context(situation: Situation) -> dict[str, Any]:
    fields = situation.fields()
    # Why the agreement does not cover an act is for people; policies ask only whether.
    del fields["rule"], fields["second"]
    if situation.facts.second is not None:
        fields["second"] = {"__entity": _uid(situation.facts.second)}
    return fields


def _entities(principal: Principal, resource: Organisation, situation: Situation) -> str:
    """Write every entity that a policy can look at, each once."""
    people = [item for item in (principal, situation.facts.second) if isinstance(item, Person)]
    homes = [person.organisation for person in people]
    if isinstance(principal, Organisation):
        homes.append(principal)
    named: list[Principal] = [*people, *homes, resource]
    # The same thing once; two things of one name are left to Cedar, which refuses them.
    found = {repr(item): _entity(item) for item in named}
    return json.dumps(list(found.values()))


def _entity(item: Principal) -> dict[str, Any]:
    if isinstance(item, Organisation):
        return {"uid": _uid(item), "attrs": {"kind": item.word}, "parents": []}
    home = _uid(item.organisation)
    attributes = {
        "organisation": {"__entity": home},
        "roles": sorted(role.value for role in item.roles),
    }
    return {"uid": _uid(item), "attrs": attributes, "parents": [home]}


def _uid(item: Principal) -> dict[str, str]:
    if isinstance(item, Organisation):
        return {"type": f"{_SPACE}::Organisation", "id": item.name}
    # A pseudonym is unique at its organisation, and may occur at another one by chance.
    return {"type": f"{_SPACE}::Person", "id": f"{item.organisation.name}/{item.pseudonym.hex()}"}


def _first_line(error: object) -> str:
    return str(error).strip().split("\n")[0][:200]
