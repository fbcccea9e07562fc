import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from clients.keys import (
    KeyStoreError,
    certificate_request,
    create_keys,
    load_keys,
    store_certificate,
)
from server.identity import create_authority, issue_node

NOW = 1_800_000_000


def raw(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def publics(keys):
    return [raw(key) for key in (keys.tls, keys.identity, keys.flower)]


def test_keys_are_kept_across_calls(tmp_path):
    first = create_keys(tmp_path)
    assert publics(create_keys(tmp_path)) == publics(first)
    assert publics(load_keys(tmp_path)) == publics(first)


def test_every_file_is_private(tmp_path):
    create_keys(tmp_path / "keys")
    files = list((tmp_path / "keys").iterdir())
    assert sorted(file.name for file in files) == [
        "flower.key",
        "flower.pub",
        "identity.key",
        "tls.key",
    ]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_flower_reads_its_key_pair(tmp_path):
    # What Flower 1.41 calls for `--auth-supernode-private-key` and `supernode register`.
    create_keys(tmp_path)
    private = load_ssh_private_key((tmp_path / "flower.key").read_bytes(), None)
    public = load_ssh_public_key((tmp_path / "flower.pub").read_bytes())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(private.curve, ec.SECP384R1)
    assert private.public_key() == public


def test_openssh_reads_the_flower_key(tmp_path):
    create_keys(tmp_path)
    try:
        done = subprocess.run(
            ["ssh-keygen", "-y", "-f", str(tmp_path / "flower.key")],
            capture_output=True,
            check=True,
        )
    except FileNotFoundError:
        pytest.skip("needs the ssh-keygen command")
    assert done.stdout.split()[:2] == (tmp_path / "flower.pub").read_bytes().split()[:2]


def test_key_readable_by_others_is_refused(tmp_path):
    create_keys(tmp_path)
    (tmp_path / "identity.key").chmod(0o640)
    with pytest.raises(KeyStoreError, match=r"identity\.key.*chmod 600"):
        load_keys(tmp_path)


def test_damaged_key_is_refused_and_kept(tmp_path):
    create_keys(tmp_path)
    (tmp_path / "tls.key").write_bytes(b"damaged")
    with pytest.raises(KeyStoreError, match=r"tls\.key"):
        create_keys(tmp_path)
    assert (tmp_path / "tls.key").read_bytes() == b"damaged"


def test_missing_key_is_named(tmp_path):
    with pytest.raises(KeyStoreError, match=r"tls\.key"):
        load_keys(tmp_path)


def test_keys_do_not_print(tmp_path):
    assert repr(create_keys(tmp_path)) == "NodeKeys()"


def test_certificate_of_the_hub_is_stored(tmp_path):
    keys = create_keys(tmp_path / "node")
    authority = create_authority(tmp_path / "hub", "hub.example", NOW)
    certificate = issue_node(authority, certificate_request(keys, "telecom"), "telecom", NOW)
    root = (tmp_path / "hub/ca.crt").read_bytes()
    found = store_certificate(tmp_path / "node", certificate, root)
    assert found.certificate.read_bytes() == certificate
    assert found.authority.read_bytes() == root
    assert x509.load_pem_x509_certificate(certificate).public_key() == keys.tls.public_key()


def test_certificate_for_another_key_is_refused(tmp_path):
    create_keys(tmp_path / "node")
    others = create_keys(tmp_path / "other")
    authority = create_authority(tmp_path / "hub", "hub.example", NOW)
    certificate = issue_node(authority, certificate_request(others, "telecom"), "telecom", NOW)
    with pytest.raises(KeyStoreError, match="another key"):
        store_certificate(tmp_path / "node", certificate, (tmp_path / "hub/ca.crt").read_bytes())


def test_certificate_of_another_authority_is_refused(tmp_path):
    keys = create_keys(tmp_path / "node")
    for hub in ("hub", "rogue"):
        create_authority(tmp_path / hub, "hub.example", NOW)
    request = certificate_request(keys, "telecom")
    authority = create_authority(tmp_path / "third", "hub.example", NOW)
    certificate = issue_node(authority, request, "telecom", NOW)
    with pytest.raises(KeyStoreError):
        store_certificate(tmp_path / "node", certificate, (tmp_path / "rogue/ca.crt").read_bytes())


def test_unreadable_certificate_is_refused(tmp_path):
    create_keys(tmp_path)
    with pytest.raises(KeyStoreError, match="not readable"):
        store_certificate(tmp_path, b"x", b"y")
