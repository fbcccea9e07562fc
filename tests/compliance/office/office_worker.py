"""A process that enters the same acts as another: ROOT, and an identity key in hexadecimal."""

import sys
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.clock import FixedClock
from compliance.office.about import About
from compliance.office.opening import open_office
from protocols.tlog.entry import Verb

ROOT, NOW, ACTS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()).public_key()
    for name in ("hub", "insurer", "police", "telecom")
}
with open_office(ROOT, "insurer", "insurer/audit", KEYS, clock=FixedClock(NOW)) as office:
    for number in range(ACTS):
        about = About(Verb.ALTER, "runs", subject=f"run {number}", once=True)
        office.perform("refuse_run", about)
        office.perform("refuse_run", About(Verb.ALTER, "runs"))
