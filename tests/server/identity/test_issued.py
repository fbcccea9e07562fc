"""Revocations: by name and by serial number, across processes, and safe to repeat."""

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clients.keys import certificate_request, create_keys
from compliance.configuration import ConfigError
from protocols.errors import UnsupportedParameterError
from server.epochs.holding import identities_of
from server.home import HubHome
from server.identity.issued import LIST, REVOKED, Issued, Revocations
from server.identity.peer import serial_number
from server.keeping.place import keeping_of
from server.office import PartnerKeys

NOW = 1_800_000_000
CONTRACT = {
    "identifier": {"column": "id", "kind": "opaque"},
    "label": None,
    "columns": [{"name": "calls", "kind": "numeric", "low": 0, "high": 9, "missing": False}],
}


def request_of(path, name="telecom"):
    keys = create_keys(path)
    public = keys.flower.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "name": name,
        "tls_request": certificate_request(keys, name).decode(),
        "identity": keys.identity.public_key().public_bytes_raw().hex(),
        "flower_public": pem.decode(),
        "contract": CONTRACT,
    }


@pytest.fixture
def hub(tmp_path):
    home = HubHome(tmp_path / "hub")
    home.create(
        name="hub.test", host="127.0.0.1", link_port=4001, fleet_port=4002, api_port=4003, now=NOW
    )
    return home


def serial_of(welcome):
    return serial_number(welcome["certificate"].encode())


def test_revoked_partner_is_barred_with_all_its_certificates(hub, tmp_path):
    request = request_of(tmp_path / "a")
    first = hub.approve(request, NOW)
    second = hub.renew_node("telecom", request["tls_request"], NOW + 10)
    seen = Revocations(hub.root)
    assert not seen.bars("telecom", serial_of(first))
    entered = []
    hub.revoke("telecom", NOW + 20, enter=entered.append)
    assert entered[0]["identity"] == request["identity"]
    assert seen.bars("telecom", 1)
    # By number too, whatever name somebody would put beside it.
    assert seen.serials() == {serial_of(first), serial_of(second)}
    assert seen.bars("police", serial_of(second))
    assert not seen.bars("police", 1)


def test_revoked_partner_is_no_partner_and_its_key_stays_known(hub, tmp_path):
    hub.approve(request_of(tmp_path / "a"), NOW)
    key = identities_of(hub)("telecom").public_bytes_raw()
    hub.revoke("telecom", NOW)
    assert hub.partners() == {}
    assert identities_of(hub)("telecom") is None
    assert PartnerKeys(hub)["telecom"].public_bytes_raw() == key
    for act in (hub.partner, lambda name: hub.renew_node(name, "", NOW)):
        with pytest.raises(UnsupportedParameterError, match="was revoked"):
            act("telecom")
    with pytest.raises(UnsupportedParameterError, match="was revoked"):
        hub.revoke("telecom", NOW)


def test_name_and_keys_of_a_revoked_partner_are_never_given_again(hub, tmp_path):
    hub.approve(request_of(tmp_path / "a"), NOW)
    hub.revoke("telecom", NOW)
    again = request_of(tmp_path / "a")
    stolen = request_of(tmp_path / "b", "police") | {"flower_public": again["flower_public"]}
    for request, says in (
        (again, "was revoked, and its name stays taken"),
        (request_of(tmp_path / "c"), "was revoked, and its name stays taken"),
        (again | {"name": "police"}, "taken by another partner"),
        (stolen, "taken by another partner"),
    ):
        with pytest.raises(ConfigError, match=says):
            hub.approve(request, NOW)


def test_nothing_changes_unless_it_is_entered(hub, tmp_path):
    hub.approve(request_of(tmp_path / "a"), NOW)

    def refuse(_):
        raise PermissionError

    with pytest.raises(PermissionError):
        hub.revoke("telecom", NOW, enter=refuse)
    assert not Revocations(hub.root).bars("telecom", 1)
    assert list(hub.partners()) == ["telecom"]


def test_list_grows_and_openssl_believes_it(hub, tmp_path):
    serials = set()
    for name in ("telecom", "police"):
        serials.add(serial_of(hub.approve(request_of(tmp_path / name, name), NOW)))
        hub.revoke(name, NOW)
    assert Revocations(hub.root).serials() == serials
    authority = x509.load_pem_x509_certificate((hub.authority / "ca.crt").read_bytes())
    (tmp_path / "revoked.crl").write_bytes(keeping_of(hub.root).shelf(REVOKED).get(LIST))
    made = x509.load_pem_x509_crl((tmp_path / "revoked.crl").read_bytes())
    assert made.is_signature_valid(authority.public_key())
    command = ["openssl", "crl", "-in", str(tmp_path / "revoked.crl"), "-noout", "-CAfile"]
    try:
        done = subprocess.run(
            [*command, str(hub.authority / "ca.crt")], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("needs the openssl command")
    assert b"verify OK" in done.stderr


def test_revocation_of_another_process_counts_at_once(hub, tmp_path):
    hub.approve(request_of(tmp_path / "a"), NOW)
    here, there = Revocations(hub.root), HubHome(hub.root)
    assert not here.bars("telecom", 1)
    there.revoke("telecom", NOW)
    assert here.bars("telecom", 1)


def test_every_certificate_of_a_partner_is_known(hub, tmp_path):
    welcome = hub.approve(request_of(tmp_path / "a"), NOW)
    later = hub.renew_node("telecom", request_of(tmp_path / "a")["tls_request"], NOW + 1)
    hub.approve(request_of(tmp_path / "b", "police"), NOW)
    assert Issued(hub.root).serials("telecom") == [serial_of(welcome), serial_of(later)]


def test_damaged_files_let_nobody_in(hub, tmp_path):
    hub.approve(request_of(tmp_path / "a"), NOW)
    keeping_of(hub.root).shelf(REVOKED).put(LIST, b"nothing")
    with pytest.raises(ConfigError, match="not a revocation list"):
        Revocations(hub.root).bars("telecom", 1)
    keeping_of(hub.root).shelf("partners").put("telecom.json", b'{"nam')
    with pytest.raises(ConfigError, match=r"telecom\.json: not valid JSON"):
        Revocations(hub.root).bars("telecom", 1)


def test_hub_gets_new_certificates_from_the_same_authority(hub):
    names = ("ca.crt", "server.pem", "server.key", "hub.pem", "hub.key")
    before = {name: (hub.authority / name).read_bytes() for name in names}
    hub.renew_server(NOW + 100)
    after = {name: (hub.authority / name).read_bytes() for name in names}
    assert {name for name in names if before[name] == after[name]} == {"ca.crt"}
    authority = x509.load_pem_x509_certificate(after["ca.crt"])
    x509.load_pem_x509_certificate(after["server.pem"]).verify_directly_issued_by(authority)
