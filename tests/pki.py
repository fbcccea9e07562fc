"""A company's own authority, as small as one may be: a root, what signs under it, certificates."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY_S = 86_400


def name_of(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def builder(subject, issuer, key, now, days):
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now - 60, UTC))
        .not_valid_after(datetime.fromtimestamp(now + days * DAY_S, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def usage(*, signs):
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    given = {"key_cert_sign", "crl_sign"} if signs else {"digital_signature"}
    return x509.KeyUsage(**{name: name in given for name in names})


@dataclass
class Authority:
    """Signs certificates in its own name."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self):
        return self.certificate.public_bytes(Encoding.PEM)


def make_authority(subject, now, *, above=None, days=3650):
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = above.certificate.subject if above else name_of(subject)
    signer = above.key if above else key
    made = (
        builder(name_of(subject), issuer, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, SHA256())
    )
    return Authority(made, key)


class Company:
    """A root, the authority under it that signs machines, and the files of what it signed."""

    def __init__(self, directory, now, title="Bank", days=3650):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.now = now
        self.root = make_authority(f"{title} root", now, days=days)
        self.signer = make_authority(f"{title} machines", now, above=self.root, days=days)
        self.chain = self.directory / "chain.pem"
        self.chain.write_bytes(self.signer.pem + self.root.pem)
        self._count = 0

    def issue(self, uri=None, *, subject="node 1", uses=("client",), signer=None, **more):
        """Return the files of a certificate and its key; `now`, `days` and `dns` may be given."""
        signer = signer or self.signer
        key = more.get("key") or ec.generate_private_key(ec.SECP256R1())
        made = builder(
            name_of(subject), signer.certificate.subject, key.public_key(),
            more.get("now", self.now), more.get("days", 90),
        )  # fmt: skip
        made = made.add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        ).add_extension(usage(signs=False), critical=True)
        made = made.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()),
            critical=False,
        )
        names = [x509.UniformResourceIdentifier(uri)] if uri else []
        names += [x509.DNSName(dns) for dns in more.get("dns", ())]
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        kinds = {
            "client": ExtendedKeyUsageOID.CLIENT_AUTH,
            "server": ExtendedKeyUsageOID.SERVER_AUTH,
        }
        if uses:
            extended = x509.ExtendedKeyUsage([kinds[use] for use in uses])
            made = made.add_extension(extended, critical=False)
        self._count += 1
        stem = self.directory / f"leaf-{self._count}"
        stem.with_suffix(".pem").write_bytes(made.sign(signer.key, SHA256()).public_bytes(
            Encoding.PEM
        ))  # fmt: skip
        stem.with_suffix(".key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return stem.with_suffix(".pem"), stem.with_suffix(".key")
