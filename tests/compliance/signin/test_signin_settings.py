"""signin.json: what may stand in it, and how a wrong one is told."""

import json

import pytest

from compliance.configuration import ConfigError
from compliance.policy.actors import StaffRole
from compliance.signin.settings import SignInSettings, read_settings

ISSUER = {"title": "SSO", "url": "https://sso.example/realm", "client_id": "lianfang"}


@pytest.fixture
def written(tmp_path):
    def read(value, environment=None):
        (tmp_path / "signin.json").write_text(json.dumps(value))
        return read_settings(tmp_path, environment or {})

    return read


def test_without_a_file_there_are_local_accounts_alone(tmp_path):
    assert read_settings(tmp_path) == SignInSettings()


def test_a_whole_file(written, tmp_path):
    (tmp_path / "ca.pem").write_text("x")
    found = written(
        {
            "origin": "https://console.example:8443",
            "local_accounts": False,
            "proxies": ["192.0.2.1"],
            "issuer": ISSUER | {
                "client_secret_variable": "SSO_SECRET", "authority": "ca.pem",
                "scopes": ["openid", "groups"], "groups_claim": "groups",
                "roles": {"fraud": ["desk", "analyst"]},
            },
        },
        {"SSO_SECRET": "kept elsewhere"},
    )  # fmt: skip
    assert found.origin == "https://console.example:8443"
    assert found.proxies == {"192.0.2.1"}
    assert found.issuer.secret == "kept elsewhere"
    assert "kept elsewhere" not in repr(found)
    assert found.issuer.roles == {"fraud": {StaffRole.DESK, StaffRole.ANALYST}}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"orgin": ""}, "unknown fields"),
        ({"origin": "http://console.example"}, "origin must be https://"),
        ({"origin": "https://console.example/"}, "origin must be https://"),
        ({"origin": "https://Console.example"}, "lower case"),
        ({"origin": "https://"}, "origin must be https://"),
        ({"local_accounts": "no"}, "local_accounts must be true or false"),
        ({"local_accounts": False}, "nobody could sign in"),
        ({"proxies": "192.0.2.1"}, "proxies must be of type list"),
        ({"proxies": [1]}, "proxies must be a list of texts"),
        ({"issuer": []}, "issuer must be an object"),
        ({"issuer": {"title": "x"}}, "client_id is missing"),
        ({"issuer": ISSUER | {"secret": "x"}}, "unknown fields"),
        ({"issuer": ISSUER | {"url": "http://sso.example"}}, "https:// address"),
        ({"issuer": ISSUER | {"url": "https://sso.example?x=1"}}, "https:// address"),
        ({"issuer": ISSUER | {"url": "https://a:b@sso.example"}}, "https:// address"),
        ({"issuer": ISSUER | {"title": "\u0007"}}, "title"),
        ({"issuer": ISSUER | {"scopes": ["profile"]}}, "openid among them"),
        ({"issuer": ISSUER | {"scopes": ["openid", "a b"]}}, "scopes must be words"),
        ({"issuer": ISSUER | {"groups_claim": "groups"}}, "go together"),
        ({"issuer": ISSUER | {"roles": {"a": ["desk"]}}}, "go together"),
        ({"issuer": ISSUER | {"groups_claim": "g", "roles": {"a": ["boss"]}}}, "boss is no role"),
        ({"issuer": ISSUER | {"groups_claim": "g", "roles": {"a": []}}}, "list roles by group"),
        ({"issuer": ISSUER | {"authority": "gone.pem"}}, "authority names no file"),
        ({"issuer": ISSUER | {"client_secret_variable": "unset"}}, "A-Z, 0-9"),
        ({"issuer": ISSUER | {"client_secret_variable": "UNSET"}}, "UNSET is not set"),
        ({"issuer": ISSUER | {"client_secret_variable": "A", "client_secret_file": "b"}}, "twice"),
        ({"issuer": ISSUER | {"client_secret_file": "gone"}}, "cannot be read"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_by_field_and_rule(written, value, told):
    with pytest.raises(ConfigError, match=told):
        written(value)


def test_a_secret_that_others_may_read_is_not_taken(written, tmp_path):
    (tmp_path / "secret").write_text("s")
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        written({"issuer": ISSUER | {"client_secret_file": "secret"}})
