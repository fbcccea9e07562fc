"""`signin.json` in the directory of a node or a hub: how its people may sign in.

Without the file: local accounts, no issuer, at localhost. What stands in it is checked before
anything is served; a wrong field is told by its name, the rule and the cure.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from compliance.agreement.fields import read_text
from compliance.configuration import ConfigError, check_fields, read_object, typed
from compliance.policy.actors import StaffRole
from compliance.staff.passfiles import read_password
from protocols.errors import MalformedMessageError

FILE = "signin.json"
_FIELDS = {"origin", "local_accounts", "proxies", "issuer"}
_ISSUER_FIELDS = {
    "title", "url", "client_id", "client_secret_file", "client_secret_variable", "authority",
    "scopes", "groups_claim", "roles",
}  # fmt: skip
_OPTIONAL = _ISSUER_FIELDS - {"title", "url", "client_id"}
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
_SCOPE = re.compile(r"[!#-\[\]-~]{1,64}", re.ASCII)
_MOST = 200


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """An OpenID provider.

    Args:
        title: what its button says. url: the issuer identifier, exactly as it writes it.
        secret: of the client; empty for a public client.
        authority: certificates that its server's must follow from; the system's if None.
        groups_claim: the claim of the ID token that lists groups; empty binds people one by one.
        roles: of groups; nobody gets another role by the issuer's word.
    """

    title: str
    url: str
    client_id: str
    secret: str = field(default="", repr=False)
    authority: Path | None = None
    scopes: tuple[str, ...] = ("openid", "profile")
    groups_claim: str = ""
    roles: Mapping[str, frozenset[StaffRole]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SignInSettings:
    """The contents of signin.json.

    Args:
        origin: at which browsers reach the screens; empty is localhost and the port served.
        proxies: addresses of reverse proxies whose X-Forwarded-For is believed.
    """

    origin: str = ""
    local_accounts: bool = True
    proxies: frozenset[str] = frozenset()
    issuer: IssuerSettings | None = None


def read_settings(root: Path, environment: Mapping[str, str] | None = None) -> SignInSettings:
    """Read signin.json of a directory; the defaults if there is none.

    Raises:
        ConfigError: names the field, the rule and the cure.
    """
    path = root / FILE
    if not path.exists():
        return SignInSettings()
    value = read_object(path)
    check_fields(value, _FIELDS & set(value), FILE)
    given = {"origin": "", "local_accounts": True, "proxies": [], "issuer": None} | value
    if type(given["local_accounts"]) is not bool:
        raise ConfigError(f"{FILE}: local_accounts must be true or false; correct it")
    issuer = given["issuer"]
    found = SignInSettings(
        origin=_origin(typed(given, "origin", str, FILE)),
        local_accounts=given["local_accounts"],
        proxies=frozenset(_texts(given, "proxies", FILE)),
        issuer=None if issuer is None else _issuer(root, issuer, environment or os.environ),
    )
    if not found.local_accounts and found.issuer is None:
        raise ConfigError(f"{FILE}: nobody could sign in; allow local_accounts, or name an issuer")
    return found


def _issuer(root: Path, value: Any, environment: Mapping[str, str]) -> IssuerSettings:
    where = f"{FILE}: issuer"
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be an object or null; correct it")
    check_fields(value, (_ISSUER_FIELDS - _OPTIONAL) | (_OPTIONAL & set(value)), where)
    given: dict[str, Any] = {
        "client_secret_file": "", "client_secret_variable": "", "authority": "",
        "scopes": ["openid", "profile"], "groups_claim": "", "roles": {},
    } | value  # fmt: skip
    scopes = _texts(given, "scopes", where)
    if "openid" not in scopes or not all(_SCOPE.fullmatch(scope) for scope in scopes):
        raise ConfigError(f"{where}: scopes must be words, openid among them; add it")
    roles, claim = (
        _roles(typed(given, "roles", dict, where)),
        typed(given, "groups_claim", str, where),
    )
    if bool(roles) is not bool(claim):
        raise ConfigError(
            f"{where}: groups_claim and roles go together; give both, or neither and bind people "
            "with `staff bind`"
        )
    authority = typed(given, "authority", str, where)
    if authority and not (root / authority).is_file():
        raise ConfigError(f"{where}: authority names no file; give the issuer's CA as PEM")
    return IssuerSettings(
        title=_text(given, "title", where),
        url=_address(_text(given, "url", where), f"{where}: url"),
        client_id=_text(given, "client_id", where),
        secret=_secret(root, given, environment),
        authority=root / authority if authority else None,
        scopes=tuple(scopes),
        groups_claim=claim,
        roles=roles,
    )


def _secret(root: Path, value: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    where = f"{FILE}: issuer"
    file = typed(value, "client_secret_file", str, where)
    variable = typed(value, "client_secret_variable", str, where)
    if file and variable:
        raise ConfigError(f"{where}: the client's secret is named twice; keep one of the two")
    if file:
        return read_password(root / file)
    if not variable:
        return ""
    if not _VARIABLE.fullmatch(variable):
        raise ConfigError(f"{where}: client_secret_variable must be A-Z, 0-9 and _; correct it")
    if not environment.get(variable):
        raise ConfigError(f"{where}: {variable} is not set; set it to the client's secret")
    return environment[variable]


def _roles(value: Mapping[str, Any]) -> dict[str, frozenset[StaffRole]]:
    where = f"{FILE}: issuer: roles"
    found: dict[str, frozenset[StaffRole]] = {}
    for group, roles in value.items():
        if not group or len(group) > _MOST or not isinstance(roles, list) or not roles:
            raise ConfigError(f"{where} must list roles by group; correct it")
        if unknown := [role for role in roles if role not in set(StaffRole)]:
            raise ConfigError(
                f"{where}: {str(unknown[0])[:32]} is no role; take of {', '.join(StaffRole)}"
            )
        found[group] = frozenset(StaffRole(role) for role in roles)
    return found


def _texts(value: Mapping[str, Any], name: str, where: str) -> list[str]:
    found = typed(value, name, list, where)
    if not all(isinstance(item, str) and 0 < len(item) <= _MOST for item in found):
        raise ConfigError(f"{where}: {name} must be a list of texts; correct it")
    return found


def _text(value: Mapping[str, Any], name: str, where: str) -> str:
    try:
        return read_text(typed(value, name, str, where), name, most=_MOST)
    except MalformedMessageError as error:
        raise ConfigError(f"{where}: {error}; correct it") from error


def _origin(value: str) -> str:
    if not value:
        return ""
    parts = _parts(value)
    if parts is None or parts.path or value != value.lower():
        raise ConfigError(
            f"{FILE}: origin must be https:// and a host, lower case, with a port where it is "
            "not 443 and nothing after it; correct it"
        )
    return value


def _address(value: str, where: str) -> str:
    """Return an issuer identifier: HTTPS without query and fragment (OpenID Discovery 1.0, 3)."""
    if _parts(value) is None:
        raise ConfigError(f"{where} must be an https:// address without query; correct it")
    return value


def _parts(value: str) -> Any:
    try:
        parts = urlsplit(value)
        is_good = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:
        return None
    if not is_good or parts.query or parts.fragment or parts.username is not None:
        return None
    return parts
