"""By which rule the hub acts, as its log names it, and under which document.

The agreement of all parties and its policies are not part of this first version of the hub's
entries. Until they are, an entry stands on a document that the parties have signed or
accepted by its digest, and says so in its `agreement` and `basis`:

    lookups, tables, epochs    the manifest of the epoch, which all holders have signed: it
                               names askers, purposes, quotas and contributors
    runs                       the training plan, which every partner accepts by its digest
    partners                   the join request that the partner handed in

`policies` names the rule of this list that permitted, or the stable code of the refusal, and
`policy_set` is the digest of the list. With agreements come their name and digest, the legal
basis of each direction, and the digest and ids of the policies that decided; a log that
passes from one to the other shows it in these fields, and no entry changes its meaning.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256

from protocols.lookup.request import Purpose
from protocols.tlog.entry import Agreement

_DOMAIN = b"lianfang/hub/rules/v1\n"


class Rule(StrEnum):
    """What the hub does, and is permitted to do by the document of the act."""

    EPOCH_BEGIN = "epoch.begin"
    EPOCH_END = "epoch.end"
    EPOCH_REFRESH = "epoch.refresh"
    LOOKUP_GRANT = "lookup.grant"
    PARTNER_APPROVE = "partner.approve"
    RUN_END = "run.end"
    RUN_PROPOSE = "run.propose"
    RUN_RELEASE = "run.release"
    RUN_START = "run.start"
    RUN_UNREPORTED = "run.unreported"
    TABLE_PUBLISH = "table.publish"


RULES_DIGEST = sha256(_DOMAIN + "\n".join(sorted(Rule)).encode()).digest()

JOIN_REQUEST = "join-request"
MANIFEST = "epoch-manifest"
PLAN = "training-plan"

DETECTION = "https://w3id.org/dpv#FraudPreventionAndDetection"
DATABASE = "https://w3id.org/dpv#MaintainFraudDatabase"
_PURPOSES = dict.fromkeys(Purpose, DETECTION) | {Purpose.PUBLISH: DATABASE}


def purpose_of(purpose: Purpose) -> str:
    """Return the IRI of what an evaluation is wanted for."""
    return _PURPOSES[purpose]


def manifest_basis(digest: bytes) -> Agreement:
    """Return the manifest of an epoch as what an entry stands on."""
    return Agreement(MANIFEST, digest)


def plan_basis(digest: bytes) -> Agreement:
    """Return a training plan as what an entry stands on."""
    return Agreement(PLAN, digest)
