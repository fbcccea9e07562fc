"""What `lianfang-hub doctor` looks at of how the hub is watched."""

from __future__ import annotations

from compliance.checkup import Check
from compliance.operation.checks import operation_checks
from server.home import HubHome


def watching_checks(home: HubHome) -> list[Check]:
    """Return the checks for `server.checks`."""
    served = (home.root / "flower" / "gate.json").exists
    return operation_checks(home.root / "hub.json", is_served=served)
