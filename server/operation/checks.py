"""What `lianfang-hub doctor` looks at of how the hub is watched."""

from __future__ import annotations

from compliance.checkup import Check
from compliance.operation.checks import operation_checks
from server.home import HubHome
from server.operation.meter import PREFIX


def watching_checks(home: HubHome) -> list[Check]:
    """Return the checks for `server.checks`."""
    return operation_checks(home.root / "hub.json", PREFIX)
