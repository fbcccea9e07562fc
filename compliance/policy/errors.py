"""What is wrong with a set of policies."""

from __future__ import annotations

from typing import ClassVar

from compliance.errors import ComplianceError


class PolicyError(ComplianceError):
    """A set of policies cannot be used; names the policy, the rule and the cure."""

    code: ClassVar[str] = "policy_error"
