"""Writing a draft at the hub: parties, keys and contracts are those of the join requests."""

from __future__ import annotations

from collections.abc import Mapping

from compliance.agreement.document import Agreement, contract_reference
from compliance.agreement.drafting import draft_agreement, party_of
from compliance.agreement.profile import Profile
from compliance.configuration import ConfigError
from protocols.errors import UnsupportedParameterError
from protocols.vertical.contract import Contract
from server.epochs.holding import HUB
from server.home import HubHome


def draft_at_hub(
    home: HubHome,
    profile: Profile,
    *,
    name: str,
    roles: Mapping[str, str],
    period: tuple[int, int],
    former: Agreement | None = None,
) -> Agreement:
    """Draft an agreement between the hub and every partner that has joined.

    Args:
        roles: of partners whose name does not begin with their role.

    Raises:
        ConfigError: a role is not known, or a kept join request is damaged.
        MalformedMessageError: too few partners have joined.
    """
    partners = home.partners()
    if unknown := sorted(set(roles) - set(partners)):
        raise ConfigError(f"{unknown[0][:32]}: has not joined; approve its join request first")
    ours = home.identity_key().public_key().public_bytes_raw()
    identities = {HUB: ours} | {
        partner: bytes.fromhex(kept["identity"]) for partner, kept in partners.items()
    }
    try:
        contracts = {
            partner: contract_reference(Contract.parse(kept["contract"]))
            for partner, kept in partners.items()
        }
    except UnsupportedParameterError as error:
        raise ConfigError(f"partners: {error}; ask for the join request again") from error
    return draft_agreement(
        hub=home.settings().name,
        name=name,
        profile=profile,
        parties=[
            party_of(party, identity, roles.get(party, ""), profile)
            for party, identity in sorted(identities.items())
        ],
        contracts=contracts,
        not_before=period[0],
        not_after=period[1],
        former=former,
    )
