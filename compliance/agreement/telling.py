"""What commands tell about an agreement: its sentences, who has signed, how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compliance.agreement.document import Agreement
from compliance.agreement.profile import Profile
from compliance.agreement.signing import SignedAgreement, verified_signers
from compliance.agreement.store import AgreementStore
from compliance.agreement.wording import SECTIONS, statements

_STATES = {
    "draft": ("a draft: it permits nothing", "草案，不生效力"),
    "awaited": ("signed by all; its time has yet to come", "全部簽署，尚未生效"),
    "in_force": ("in force", "有效"),
    "superseded": ("superseded by a later version", "已由新版取代"),
    "ended": ("its time has run out", "已屆期"),
    "revoked": ("revoked", "已撤回"),
}


def standing_of(store: AgreementStore, signed: SignedAgreement, now: int) -> dict[str, Any]:
    """Return how an agreement stands here; one that is not kept here is a draft."""
    digest = signed.agreement.digest
    kept = digest in store.versions()
    signers = verified_signers(signed, store.identities)
    return {
        "digest": digest.hex(),
        "name": signed.agreement.name,
        "version": signed.agreement.version,
        "state": store.state(digest, now).value if kept else "draft",
        "signed": sorted(signers),
        "unverified": sorted(set(signed.signatures) - set(signers)),
        "missing": list(signed.missing),
        "kept": kept,
        "revoked_by": [
            {"party": item.party, "at": item.at, "reason": item.reason}
            for item in (store.revocations(digest) if kept else ())
        ],
    }


def standing_text(standing: Mapping[str, Any], language: str) -> str:
    """Write a standing for people."""
    state = _STATES[standing["state"]][language == "zh"]
    signed, missing = ", ".join(standing["signed"]) or "-", ", ".join(standing["missing"]) or "-"
    lines = [
        f"狀態：{state}；已簽署：{signed}；尚缺：{missing}"
        if language == "zh"
        else f"State: {state}. Signed: {signed}. Missing: {missing}."
    ]
    if standing["unverified"]:
        label = "簽章未能驗證" if language == "zh" else "Signatures that do not hold here"
        lines.append(f"{label}: {', '.join(standing['unverified'])}")
    lines += [f"{item['party']}: {item['reason']}" for item in standing["revoked_by"]]
    return "\n".join(lines)


def shown(
    agreement: Agreement, profile: Profile | None, language: str, standing: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """Return an agreement in sentences, for programs and for people."""
    said = statements(agreement, language, profile)
    lines: list[str] = []
    for section, title in SECTIONS.items():
        lines.append(f"\n{title.text(language)}")
        lines += [f"  {item.label}: {item.value}" for item in said if item.section is section]
    lines.append(f"\n{agreement.digest.hex()}\n{standing_text(standing, language)}")
    value = dict(standing) | {
        "agreement": agreement.format(),
        "statements": [
            {
                "section": item.section,
                "key": item.key,
                "whom": list(item.whom),
                "label": item.label,
                "value": item.value,
            }
            for item in said
        ],
    }
    return value, "\n".join(lines).lstrip("\n")


def list_kept(store: AgreementStore, now: int, language: str) -> tuple[list[dict[str, Any]], str]:
    """Return how all versions here stand, the oldest first, for programs and for people."""
    found = [standing_of(store, store.load(digest), now) for digest in store.digests()]
    lines = [
        f"{item['digest'][:12]}  {item['name']} {item['version']}  "
        + standing_text(item, language).replace("\n", "; ")
        for item in found
    ]
    return found, "\n".join(lines) or "No agreement is kept here."
