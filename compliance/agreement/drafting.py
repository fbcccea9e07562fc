"""A first draft, for the parties to correct before they sign: cautious terms, usual bases.

The legal bases that it names are a proposal by role and direction. Whether they carry is
for each party's counsel; the draft says so in every flow that it writes, by its id alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compliance.agreement.document import Agreement
from compliance.agreement.profile import Profile
from compliance.agreement.terms import (
    Approvers,
    Asker,
    Caps,
    ContractReference,
    Flow,
    Keys,
    Party,
    Retention,
    Training,
)
from compliance.agreement.vocabulary import Channel, Role, Title, What
from compliance.configuration import ConfigError
from protocols.errors import UnsupportedParameterError
from protocols.vertical.plan import COMPUTE_PARTIES, HUB

FRAUD = "https://w3id.org/dpv#FraudPreventionAndDetection"
DATABASE = "https://w3id.org/dpv#MaintainFraudDatabase"
DEFAULT_QUOTA = 100_000
_RUN_EPSILON, _EPSILON, _DELTA = 1.0, 3.0, 1e-5
_MIN_ROWS = 100
_LOG_MONTHS, _MONTHS = 84, 24

_COMPANY = (Role.INSURER, Role.TELECOM)
# What a role gives under, and what it receives under, by profile and direction.
_GIVES: dict[str, dict[What, tuple[str, str]]] = {
    # (companies, police)
    "tw": {
        What.TRAINING: ("tw/pdpa-20-4", "tw/pdpa-16-4"),
        What.LOOKUP: ("tw/pdpa-20", "tw/pdpa-16"),
        What.REPORT: ("tw/pdpa-20-4", "tw/pdpa-16-4"),
        What.SCORE: ("tw/pdpa-20-4", "tw/pdpa-16-4"),
    },
    "eu": {
        What.TRAINING: ("eu/gdpr-6-1-f", "eu/led-9"),
        What.LOOKUP: ("eu/gdpr-6-1-f", "eu/led-8"),
        What.REPORT: ("eu/gdpr-6-1-f", "eu/led-9"),
        What.SCORE: ("eu/gdpr-6-1-f", "eu/led-8"),
    },
}
_RECEIVES: dict[str, dict[What, tuple[str, str, str]]] = {
    # (companies, police, hub)
    "tw": {
        What.TRAINING: ("tw/rules-17", "tw/rules-17", "tw/rules-17"),
        What.LOOKUP: ("tw/rules-17", "tw/rules-17", "tw/rules-17"),
        What.REPORT: ("tw/pdpa-19-6", "tw/pdpa-15-1", "tw/pdpa-4"),
        What.SCORE: ("tw/pdpa-19-2", "tw/pdpa-15-1", ""),
    },
    "eu": {
        What.TRAINING: ("eu/gdpr-6-1-f", "eu/led-8", "eu/gdpr-28"),
        What.LOOKUP: ("eu/gdpr-6-1-f", "eu/led-8", "eu/gdpr-28"),
        What.REPORT: ("eu/gdpr-6-1-f", "eu/led-8", "eu/gdpr-28"),
        What.SCORE: ("eu/gdpr-6-1-f", "eu/led-8", ""),
    },
}


def draft_agreement(
    *,
    hub: str,
    name: str,
    profile: Profile,
    parties: Sequence[Party],
    contracts: Mapping[str, ContractReference],
    not_before: int,
    not_after: int,
    quota: int = DEFAULT_QUOTA,
    former: Agreement | None = None,
) -> Agreement:
    """Propose an agreement: insurers ask, telecoms and police report, all partners train.

    Args:
        former: the version that this one is to supersede.

    Raises:
        MalformedMessageError: the parts do not fit together.
        UnsupportedParameterError: no proposals are known for the profile.
    """
    if profile.id not in _GIVES:
        raise UnsupportedParameterError(
            f"profile: no usual legal bases are known for {profile.id}; write the flows by hand"
        )
    partners = [party for party in parties if party.role is not Role.HUB]
    names = tuple(party.name for party in partners)
    reporting = [party.name for party in partners if party.role is not Role.INSURER]
    asking = [party.name for party in partners if party.role is Role.INSURER]
    holders = (HUB, *reporting)
    compute = names if len(names) >= COMPUTE_PARTIES else (HUB, *names)
    wanted = [
        *((What.LOOKUP, one, holder) for one in names for holder in holders),
        *((What.REPORT, one, asker) for one in reporting for asker in asking),
        *((What.TRAINING, one, other) for one in names for other in (*names, *compute)),
        *((What.SCORE, one, asker) for one in names for asker in asking),
    ]
    roles = {party.name: party.role for party in parties}
    flows = [
        _flow(profile.id, what, (source, roles[source]), (recipient, roles[recipient]))
        for what, source, recipient in dict.fromkeys(wanted)
        if source != recipient
    ]
    return Agreement(
        hub=hub,
        name=name,
        version=1 if former is None else former.version + 1,
        title=Title("Joint defence against fraud", "聯防打擊詐欺協議"),
        profile=profile.reference,
        parties=tuple(parties),
        purposes=(FRAUD, DATABASE),
        flows=tuple(flows),
        special=(),
        contracts=dict(contracts),
        caps=Caps(_RUN_EPSILON, dict.fromkeys(names, _EPSILON), _EPSILON, _DELTA),
        training=Training(compute, ("hidden",), ("oblivious",), _MIN_ROWS),
        keys=Keys(holders, 2),
        askers={party.name: Asker(quota, _channels(party.role)) for party in partners},
        approvers=Approvers(names, (HUB, *names), names),
        retention=Retention(_LOG_MONTHS, _MONTHS, _MONTHS, _MONTHS),
        not_before=not_before,
        not_after=not_after,
        supersedes=None if former is None else former.digest,
    )


def party_of(name: str, identity: bytes, chosen: str, profile: Profile) -> Party:
    """Propose how a party stands in an agreement: its role, its sector, its country.

    Args:
        chosen: its role; if empty, its name must begin with it.

    Raises:
        ConfigError: the role is not known, or the profile has no sector for it.
    """
    role = _role(name, chosen)
    sector = next((item for item in profile.sectors if item.role is role), None)
    if sector is None:
        raise ConfigError(f"profile: {profile.id} has no sector for the role {role}; take another")
    return Party(name, role, Title(name, name), identity, sector.id, profile.countries[0])


def _role(name: str, chosen: str) -> Role:
    if name == HUB:
        return Role.HUB
    for role in Role:
        if role is not Role.HUB and (chosen == role or (not chosen and name.startswith(role))):
            return role
    raise ConfigError(f"role of {name}: give --role {name}=insurer, telecom or police")


def _flow(profile: str, what: What, source: tuple[str, Role], recipient: tuple[str, Role]) -> Flow:
    company, police = _GIVES[profile][what]
    gives = company if source[1] in _COMPANY else police
    receiving = _RECEIVES[profile][what]
    position = 0 if recipient[1] in _COMPANY else (1 if recipient[1] is Role.POLICE else 2)
    purposes = (FRAUD, DATABASE) if what in {What.LOOKUP, What.REPORT} else (FRAUD,)
    return Flow(source[0], recipient[0], what, purposes, gives, receiving[position])


def _channels(role: Role) -> dict[Channel, str]:
    if role is Role.INSURER:
        asking = (Channel.COUNTER, Channel.CALL_CENTRE, Channel.ONLINE, Channel.SCREENING)
        return dict.fromkeys((*asking, Channel.ALIGNMENT), FRAUD)
    return {Channel.PUBLISH: DATABASE, Channel.ALIGNMENT: FRAUD}
