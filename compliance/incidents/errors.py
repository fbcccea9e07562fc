"""What an incident file refuses beside the policies."""

from __future__ import annotations

from typing import ClassVar

from compliance.errors import ComplianceError


class IncidentError(ComplianceError):
    """A rule of the incident file stands against it; the message names it and the cure."""

    code: ClassVar[str] = "incident"
