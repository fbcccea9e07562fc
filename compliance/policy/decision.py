"""A decision with all that it was made from, so that anyone can make it again.

It is a value with one canonical form (RFC 8785). The log entry of an act takes from it the
agreement's hash, the hash of the policies, the deciding policies and the answer; the whole
record stays with the organisation that decided, for `replay`. Nothing in it names a person
or a case: staff appear under pseudonyms, and of a case it says only that there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from compliance.agreement.fields import Fields, defect
from compliance.policy.actors import Organisation, Principal, Situation, parse_principal
from protocols.errors import MalformedMessageError
from protocols.jcs import decode_jcs, encode_jcs

FORMAT = "lianfang/policy/decision/v1"
_WHERE = "decision"
_DIGITS = 64

# What can go wrong on the way to a decision; the text of the library is not kept, because it
# may repeat what it was given.
REQUEST = "request"  # the request does not fit the schema: an unknown act, a missing field
EVALUATION = "evaluation"  # a policy failed, and may have been passed over
AGREEMENT = "agreement"  # the agreement in force could not be read
# The policy that comes with the program and refuses what the agreement does not cover.
NEEDS_AGREEMENT = "no-agreement-no-act"
ERRORS = (REQUEST, EVALUATION, AGREEMENT)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and from what.

    Args:
        policies: ids of the policies that decided; none if nothing permitted.
        policy_set, agreement: hashes; `agreement` is None if none is in force.
        question: what the agreement was asked, as `Question.fields`; None if nothing.
        errors: words of `ERRORS`; where there is one, the answer is no.
    """

    allowed: bool
    policies: tuple[str, ...]
    policy_set: bytes
    agreement: bytes | None
    errors: tuple[str, ...]
    at: int
    principal: Principal
    act: str
    resource: Organisation
    situation: Situation
    question: Mapping[str, Any] | None

    @property
    def reason(self) -> str:
        """Say in a few words why; for the one who asked."""
        if self.allowed:
            return f"permitted by {', '.join(self.policies)}"
        if self.errors:
            return f"denied: {', '.join(self.errors)} error"
        if not self.policies:
            return f"denied: no policy permits {self.act}"
        coverage = self.situation.coverage
        # An act that needs no agreement is not refused for want of one.
        asked = coverage.rule and (self.question is not None or NEEDS_AGREEMENT in self.policies)
        against = f" ({coverage.rule}: {coverage.reason})" if asked else ""
        return f"denied by {', '.join(self.policies)}{against}"

    def encode(self) -> bytes:
        """Write the record in canonical form."""
        return encode_jcs(
            {
                "format": FORMAT,
                "allowed": self.allowed,
                "policies": list(self.policies),
                "policy_set": self.policy_set.hex(),
                "agreement": None if self.agreement is None else self.agreement.hex(),
                "errors": list(self.errors),
                "at": self.at,
                "principal": self.principal.fields(),
                "act": self.act,
                "resource": self.resource.fields(),
                "situation": self.situation.fields(),
                "question": None if self.question is None else dict(self.question),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Decision:
        """Read a record.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        names = set(cls.__dataclass_fields__) | {"format"}
        fields = Fields.of(decode_jcs(data, _WHERE), names, _WHERE)
        if fields.values["format"] != FORMAT:
            raise defect(fields.at("format"), f"must be {FORMAT}")
        agreement, question = fields.values["agreement"], fields.values["question"]
        found = cls(
            allowed=fields.flag("allowed"),
            policies=fields.texts("policies"),
            policy_set=fields.digest("policy_set"),
            agreement=None if agreement is None else fields.digest("agreement"),
            errors=fields.texts("errors"),
            at=fields.whole("at"),
            principal=parse_principal(fields.values["principal"], fields.at("principal")),
            act=fields.text("act"),
            resource=Organisation.parse(fields.values["resource"], fields.at("resource")),
            situation=Situation.parse(fields.values["situation"], fields.at("situation")),
            question=None if question is None else _question(fields),
        )
        if found.encode() != data:
            raise MalformedMessageError(f"{_WHERE}: not in canonical form")
        return found

    def with_error(self, error: str) -> Decision:
        """Return the refusal that it becomes when something went wrong on the way."""
        errors = tuple(dict.fromkeys((*self.errors, error)))
        return replace(self, allowed=False, errors=errors)


def _question(fields: Fields) -> dict[str, Any]:
    found = fields.mapping("question")
    if not all(isinstance(item, str) and len(item) <= _DIGITS for item in found.values()):
        raise defect(fields.at("question"), "must hold short texts")
    return found
