"""Whether an agreement keeps the rules of its jurisdiction, before anybody signs it."""

from __future__ import annotations

from compliance.agreement.document import Agreement
from compliance.agreement.profile import EVERY, Profile, Side
from compliance.agreement.vocabulary import Role, What
from protocols.errors import UnsupportedParameterError

_Use = tuple[Side, What | None, Role, Role | None]


def check_against_profile(agreement: Agreement, profile: Profile) -> None:
    """Return only if an agreement keeps the rules of its jurisdiction.

    Raises:
        UnsupportedParameterError: names field, rule and cure.
    """
    if agreement.profile != profile.reference:
        raise UnsupportedParameterError(
            "agreement.profile: names another edition than this; take the profile by its hash"
        )
    roles = {party.name: party.role for party in agreement.parties}
    for party in agreement.parties:
        sector = profile.sector(party.sector)
        if sector is None or sector.role is not party.role:
            raise UnsupportedParameterError(
                f"agreement.parties: {party.sector} is no sector of a party with the role "
                f"{party.role}; take one of the profile"
            )
        if party.country not in profile.countries:
            raise UnsupportedParameterError(
                f"agreement.parties: {party.name} is outside the profile {profile.id}; "
                "a transfer across its border needs an agreement of its own"
            )
    for flow in agreement.flows:
        source, recipient = roles[flow.source], roles[flow.recipient]
        where = f"agreement.flows: {flow.name}"
        giving = (Side.GIVES, flow.what, source, recipient)
        receiving = (Side.RECEIVES, flow.what, recipient, source)
        _check_basis(profile, flow.basis, where, giving)
        _check_basis(profile, flow.recipient_basis, where, receiving)
    categories = {category.id for category in profile.special_categories}
    for item in agreement.special:
        where = f"agreement.special: {item.category} of {item.party}"
        if item.category not in categories:
            raise UnsupportedParameterError(f"{where}: no category of the profile; correct it")
        _check_basis(profile, item.basis, where, (Side.SPECIAL, None, roles[item.party], None))
    _check_retention(agreement, profile)


def _check_basis(profile: Profile, name: str, where: str, use: _Use) -> None:
    basis = profile.basis(name)
    reason = (
        f"{name} is no basis of the profile {profile.id}"
        if basis is None
        else basis.objection(*use)
    )
    if reason:
        raise UnsupportedParameterError(f"{where}: {reason}; name a basis that fits")


def _check_retention(agreement: Agreement, profile: Profile) -> None:
    sectors = {EVERY, *(party.sector for party in agreement.parties)}
    for floor in profile.retention:
        kept = getattr(agreement.retention, f"{floor.what}_months")
        if sectors & set(floor.sectors) and kept < floor.at_least_months:
            raise UnsupportedParameterError(
                f"agreement.retention.{floor.what}_months: must be at least "
                f"{floor.at_least_months} ({floor.source}); raise it"
            )
