"""Three nodes that have pinned each other and the hub, and the hub's key."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.keys import create_keys, load_keys
from clients.node.files import store_json
from compliance.agreement.signing import SignedAgreement, sign_agreement

PARTNERS = ("insurer", "police", "telecom")


@dataclass
class Ring:
    """The directories of three nodes, and the key of the hub."""

    root: Path
    hub: Ed25519PrivateKey

    def node(self, name):
        return self.root / name

    def sign_as_hub(self, file):
        """The hub signs with a program of its own; here straight with its key."""
        signed = SignedAgreement.parse(file.read_bytes())
        own = sign_agreement(self.hub, signed.agreement, "hub")
        file.write_bytes(signed.with_signatures({"hub": own}).format())


@pytest.fixture
def ring(tmp_path):
    hub = Ed25519PrivateKey.generate()
    identities = {}
    for name in PARTNERS:
        keys = tmp_path / name / "keys"
        keys.mkdir(parents=True, mode=0o700)
        create_keys(keys)
        public = load_keys(keys).identity.public_key()
        identities[name] = public.public_bytes_raw().hex()
    for name in PARTNERS:
        contract = {
            "identifier": {"column": "id", "kind": "opaque"},
            "label": "fraud" if name == "insurer" else None,
            "columns": [
                {"name": f"{name}-a", "kind": "numeric", "low": 0, "high": 9, "missing": False}
            ],
        }
        (tmp_path / name / "contract.json").write_text(json.dumps(contract))
        store_json(
            tmp_path / name / "node.json",
            {
                "name": name,
                "hub": {
                    "link": "", "flower": "", "api": "",
                    "identity": hub.public_key().public_bytes_raw().hex(),
                },
                "table": "table.csv",
                "contract": "contract.json",
                "peers": {who: key for who, key in identities.items() if who != name},
                "held_out_column": None,
            },
        )  # fmt: skip
    return Ring(tmp_path, hub)
