"""A process that opens one incident after the other until it is killed; run as a script.

python incident_worker.py ROOT TOLD      each incident that was opened is a line of TOLD
"""

import sys
from pathlib import Path

from compliance.agreement.profile import shipped_profile
from compliance.clock import FixedClock
from compliance.incidents.acts import IncidentDesk, Opening
from compliance.incidents.book import Incidents
from compliance.office.opening import open_office
from compliance.policy.actors import StaffRole
from compliance.staff.acting import Acting

NOW = 1_795_305_600


def main():
    root, told = Path(sys.argv[1]), Path(sys.argv[2])
    with (
        open_office(root, "insurer", "insurer/audit", {}, clock=FixedClock(NOW)) as office,
        told.open("w", buffering=1) as out,
    ):
        who = Acting(office.person("one", [StaffRole.DESK]), None)
        desk = IncidentDesk(Incidents(root), office, who)
        while True:
            opening = Opening(shipped_profile("tw"), "life-insurance", NOW, "one of many")
            out.write(f"{desk.open(opening).number}\n")


if __name__ == "__main__":
    main()
