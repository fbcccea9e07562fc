"""Writing a draft from what a node knows: its own contract, its peers, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clients.audit.home import AuditHome
from clients.node.home import load_contract
from compliance.agreement.document import Agreement, contract_reference
from compliance.agreement.drafting import draft_agreement, party_of
from compliance.agreement.profile import Profile
from compliance.agreement.terms import ContractReference
from compliance.configuration import ConfigError


def draft_at(
    home: AuditHome,
    profile: Profile,
    *,
    hub: str,
    name: str,
    roles: Mapping[str, str],
    contracts: Mapping[str, str],
    period: tuple[int, int],
    former: Agreement | None = None,
) -> Agreement:
    """Draft an agreement between this node, its pinned peers and the hub.

    Args:
        roles: of parties whose name does not begin with their role; contracts: files of
            other parties' feature contracts.

    Raises:
        ConfigError: a role is not known, or a file cannot be read.
    """
    config = home.node.config()
    if not config.hub_identity:
        raise ConfigError("node.json: the hub's key is missing; run `lianfang node join` first")
    identities = home.identities()
    if unknown := sorted({*roles, *contracts} - set(identities)):
        raise ConfigError(f"{unknown[0][:32]}: no pinned peer; run `lianfang node trust` first")
    parties = [
        party_of(party, identity, roles.get(party, ""), profile)
        for party, identity in sorted(identities.items())
    ]
    references: dict[str, ContractReference] = {}
    if config.contract.is_file():
        references[config.name] = contract_reference(home.node.contract())
    for party, path in contracts.items():
        references[party] = contract_reference(load_contract(Path(path)))
    return draft_agreement(
        hub=hub,
        name=name,
        profile=profile,
        parties=parties,
        contracts=references,
        not_before=period[0],
        not_after=period[1],
        former=former,
    )


def check_own_contract(home: AuditHome, agreement: Agreement) -> None:
    """Refuse to sign what says something else about our columns than our contract.

    Raises:
        ConfigError: names the cure.
    """
    listed = agreement.contracts.get(home.name)
    if listed is not None and contract_reference(home.node.contract()) != listed:
        raise ConfigError(
            f"agreement.contracts.{home.name}: is not the contract of this node; "
            "draft anew, or correct the contract"
        )
