import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from server.identity import (
    create_authority,
    issue_control,
    issue_node,
    issue_server,
    load_authority,
    parse_peer,
)

NOW = 1_800_000_000
HUB = "hub.example"


@pytest.fixture
def authority(tmp_path):
    return create_authority(tmp_path, HUB, NOW)


def request(key=None, name="telecom"):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), SHA256())
    return signed.public_bytes(Encoding.PEM)


def certificate(*names):
    """A self-signed certificate with any names: TLS is what checks issuers, not `parse_peer`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "telecom")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(NOW, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 60, UTC))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def uri(value):
    return x509.UniformResourceIdentifier(value)


def at(seconds):
    return datetime.fromtimestamp(NOW + seconds, UTC)


def test_node_certificate_carries_its_name(authority):
    assert parse_peer(issue_node(authority, request(), "telecom", NOW), HUB) == "telecom"


def test_name_is_the_hubs_decision(authority):
    pem = issue_node(authority, request(name="police"), "telecom", NOW)
    assert parse_peer(pem, HUB) == "telecom"
    assert b"police" not in x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def test_chain_verifies_only_inside_its_window(authority):
    leaf = x509.load_pem_x509_certificate(issue_node(authority, request(), "telecom", NOW, days=1))
    store = Store([authority.certificate])

    def verify(seconds):
        verifier = PolicyBuilder().store(store).time(at(seconds)).build_client_verifier()
        return verifier.verify(leaf, [])

    for seconds in (-300, 0, 86_400):
        verify(seconds)
    for seconds in (-301, 86_401):
        with pytest.raises(VerificationError):
            verify(seconds)


def test_node_certificate_is_for_clients_only(authority):
    leaf = x509.load_pem_x509_certificate(issue_node(authority, request(), "telecom", NOW))
    uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    store = Store([authority.certificate])
    builder = PolicyBuilder().store(store).time(at(0))
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("telecom")).verify(leaf, [])


def test_server_certificate_names_its_hosts(authority, tmp_path):
    issue_server(authority, tmp_path, ["hub.example", "127.0.0.1"], NOW)
    leaf = x509.load_pem_x509_certificate((tmp_path / "server.pem").read_bytes())
    builder = PolicyBuilder().store(Store([authority.certificate])).time(at(0))
    builder.build_server_verifier(x509.DNSName("hub.example")).verify(leaf, [])
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("other.example")).verify(leaf, [])
    with pytest.raises(InvalidProofError):
        parse_peer((tmp_path / "server.pem").read_bytes(), HUB)


def test_control_certificate_is_named_hub(authority, tmp_path):
    issue_control(authority, tmp_path, NOW)
    assert parse_peer((tmp_path / "hub.pem").read_bytes(), HUB) == "hub"
    with pytest.raises(UnsupportedParameterError):
        issue_node(authority, request(), "hub", NOW)


def test_every_file_is_private_and_no_draft_is_left(authority, tmp_path):
    issue_server(authority, tmp_path, ["localhost"], NOW)
    issue_control(authority, tmp_path, NOW)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    names = ("ca.crt", "ca.key", "hub.key", "hub.pem", "server.key", "server.pem")
    assert modes == dict.fromkeys(names, 0o600)


def test_authority_is_loaded_as_made(authority, tmp_path):
    loaded = load_authority(tmp_path)
    assert loaded.hub == HUB
    assert parse_peer(issue_node(loaded, request(), "police", NOW), HUB) == "police"


def test_authority_is_never_replaced(authority, tmp_path):
    with pytest.raises(FileExistsError):
        create_authority(tmp_path, HUB, NOW)


def test_foreign_key_beside_the_certificate_is_refused(authority, tmp_path):
    create_authority(tmp_path / "other", HUB, NOW)
    (tmp_path / "ca.key").write_bytes((tmp_path / "other/ca.key").read_bytes())
    with pytest.raises(UnsupportedParameterError):
        load_authority(tmp_path)


def test_request_with_a_false_signature_is_refused(authority):
    der = bytearray(x509.load_pem_x509_csr(request()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(InvalidProofError):
        issue_node(authority, forged, "telecom", NOW)


def test_request_with_another_kind_of_key_is_refused(authority):
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP521R1())):
        with pytest.raises(UnsupportedParameterError):
            issue_node(authority, request(key), "telecom", NOW)


@given(st.binary(max_size=60))
def test_any_bytes_as_certificate_are_malformed(data):
    with pytest.raises(MalformedMessageError):
        parse_peer(data, HUB)


@pytest.mark.parametrize(
    "names",
    [
        (),
        (uri("spiffe://other.example/node/telecom"),),
        (uri("spiffe://hub.example/node/"),),
        (uri("spiffe://hub.example/node/telecom/x"),),
        (uri("spiffe://hub.example/node/Telecom"),),
        (uri("telecom"),),
        (uri("https://hub.example/node/telecom"),),
        (x509.DNSName("spiffe.hub.example"),),
        (uri("spiffe://hub.example/node/telecom"), uri("spiffe://hub.example/node/police")),
        (uri("spiffe://hub.example/node/telecom"), x509.DNSName("telecom")),
    ],
)
def test_certificate_without_exactly_one_node_name_is_refused(names):
    with pytest.raises(InvalidProofError):
        parse_peer(certificate(*names), HUB)


def test_two_certificates_are_not_one(authority):
    pem = issue_node(authority, request(), "telecom", NOW)
    with pytest.raises(MalformedMessageError):
        parse_peer(pem + pem, HUB)


@pytest.mark.parametrize("name", ["", "Telecom", "a b", "a/b", "../x", "1a", "a" * 64])
def test_bad_node_name_is_refused(authority, name):
    with pytest.raises(ValueError, match="node name"):
        issue_node(authority, request(), name, NOW)


def test_openssl_accepts_the_chain(authority, tmp_path):
    issue_server(authority, tmp_path, ["localhost"], NOW)
    command = ["openssl", "verify", "-x509_strict", "-attime", str(NOW), "-purpose", "sslserver"]
    files = ["-CAfile", str(tmp_path / "ca.crt"), str(tmp_path / "server.pem")]
    try:
        done = subprocess.run([*command, *files], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the openssl command")
    assert done.returncode == 0, done.stderr


def test_certificate_lasts_397_days(authority):
    leaf = x509.load_pem_x509_certificate(issue_node(authority, request(), "telecom", NOW))
    assert leaf.not_valid_after_utc - at(0) == timedelta(days=397)
