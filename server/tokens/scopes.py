"""What a token may be used for: every operation of the API belongs to one scope.

A token narrows its certificate, so a scope opens nothing that the certificate would not. One
table, by operation id; an operation that is not in it takes no token, and a test fails.
"""

from __future__ import annotations

from collections.abc import Mapping

LOOKUP, PUBLISH, AGREEMENTS = "lookup", "publish", "agreements"
LOG, CERTIFICATE = "log", "certificate"
SCOPES: Mapping[str, str] = {
    LOOKUP: "ask whether somebody is reported: evaluations, quota, tables",
    PUBLISH: "publish tables, and read who has applied them",
    AGREEMENTS: "read, offer, sign and revoke agreements",
    LOG: "read the audit log",
    CERTIFICATE: "renew the node's certificate",
}
# With any right token, since every program needs it or it is open to all.
ANY = "any"
# With none: a token gives no further token.
NEVER = "never"
OF_OPERATION: Mapping[str, str] = {
    "health": ANY,
    "ready": ANY,
    "document": ANY,
    "securityContact": ANY,
    "tokenMetadata": ANY,
    "tokenKeys": ANY,
    "authority": ANY,
    "join": ANY,
    "welcome": ANY,
    "currentManifest": ANY,
    "manifest": ANY,
    "token": NEVER,
    "evaluate": LOOKUP,
    "quota": LOOKUP,
    "tables": LOOKUP,
    "table": LOOKUP,
    "tableBucket": LOOKUP,
    "tableDelta": LOOKUP,
    "tableDigests": LOOKUP,
    "tableFilter": LOOKUP,
    "tableHeader": LOOKUP,
    "acknowledge": LOOKUP,
    "acknowledgements": PUBLISH,
    "publish": PUBLISH,
    "agreements": AGREEMENTS,
    "agreement": AGREEMENTS,
    "offerAgreement": AGREEMENTS,
    "signAgreement": AGREEMENTS,
    "revokeAgreement": AGREEMENTS,
    "log": LOG,
    "logCheckpoint": LOG,
    "logEvidence": LOG,
    "logKey": LOG,
    "logTile": LOG,
    "renew": CERTIFICATE,
}


def scope_of(operation: str) -> str:
    """Return the scope that an operation needs; unknown ones take no token."""
    return OF_OPERATION.get(operation, NEVER)


def covers(granted: frozenset[str], operation: str) -> bool:
    """Report whether a token with these scopes may be used for an operation."""
    needed = scope_of(operation)
    return needed == ANY or needed in granted
