"""The description of a pack for machines: RO-Crate 1.1, written by hand and kept small.

Source:
    RO-Crate Metadata Specification 1.1 (https://w3id.org/ro/crate/1.1), sections on the root
    data entity, data entities and contextual entities.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

METADATA = "ro-crate-metadata.json"
_VERSION = "https://w3id.org/ro/crate/1.1"
_TERMS = "#terms"
_FORMATS = {
    ".json": "application/json",
    ".md": "text/markdown",
    ".pem": "application/x-pem-file",
    ".txt": "text/plain",
}
_TITLES = {
    "README.md": "What this is and how to check it",
    "SHA256SUMS": "Hashes of all other files",
    "checkpoint": "Signed and witnessed checkpoint of the log (C2SP tlog-checkpoint)",
    "policy.txt": "Trust policy: log, witnesses and quorum (C2SP tlog-policy)",
    "selection.json": "What was asked for",
    "agreements/": "Agreements that the entries name, with all signatures",
    "entries/": "Selected entries, canonical JSON (RFC 8785)",
    "keys/": "Public keys of the log and its witnesses, PEM",
    "policies/": "Sets of policies that decided (Cedar)",
    "profiles/": "Jurisdiction profiles that the agreements name",
    "proofs/": "Proof of inclusion of every selected entry (C2SP tlog-proof)",
    "tile/": "Hashes and entries of the log (C2SP tlog-tiles)",
}


def write_metadata(
    *, origin: str, size: int, entries: int, at: int, publisher: str, paths: Sequence[str]
) -> bytes:
    """Return the metadata file.

    Args:
        at: Unix seconds; paths: all files of the pack but this one. Those in directories are
            described by their directory, since a log has many.
    """
    parts = sorted({f"{path.partition('/')[0]}/" if "/" in path else path for path in paths})
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Audit pack of {origin}",
        "description": f"{entries} of {size} entries of the transparency log {origin}, with "
        "proofs, agreements, policies and keys, to be checked offline as README.md says.",
        "datePublished": datetime.fromtimestamp(at, UTC).isoformat(),
        "license": {"@id": _TERMS},
        "hasPart": [{"@id": part} for part in parts],
    }
    graph = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "conformsTo": {"@id": _VERSION},
            "about": {"@id": "./"},
        },
        root,
        {
            "@id": _TERMS,
            "@type": "CreativeWork",
            "name": "Terms of use",
            "description": "For audit and supervision under the agreements in this pack; not "
            "for publication.",
        },
        *(_part(part) for part in parts),
    ]
    if publisher:
        root["publisher"] = {"@id": "#publisher"}
        graph.append({"@id": "#publisher", "@type": "Organization", "name": publisher})
    value = {"@context": f"{_VERSION}/context", "@graph": graph}
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def _part(part: str) -> dict[str, Any]:
    if part.endswith("/"):
        return {"@id": part, "@type": "Dataset", "name": _TITLES[part]}
    found: dict[str, Any] = {"@id": part, "@type": "File", "name": _TITLES[part]}
    ending = part[part.rfind(".") :] if "." in part else ""
    return found | {"encodingFormat": _FORMATS.get(ending, "text/plain")}
