"""What `lianfang node doctor` looks at of how the node is watched."""

from __future__ import annotations

from clients.node.home import Home
from clients.operation.meter import PREFIX
from compliance.checkup import Check
from compliance.operation.checks import operation_checks


def watching_checks(home: Home) -> list[Check]:
    """Return the checks for `clients.node.checks`."""
    return operation_checks(home.root / "node.json", PREFIX)
