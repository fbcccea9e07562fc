"""The key that signs access tokens: the hub's own, for nothing else, in a file.

    authority/token.key          Ed25519, PKCS #8; made when it is first needed
    authority/token-former.pub   public half of the one before it, while its tokens may still live

Every process of the hub reads the same files, anew when they have changed: a key that was
replaced counts at once, and tokens of the one before it live out their ten minutes.

Specification: RFC 7517 (JWK), RFC 7638 (thumbprint as key id), RFC 8037 (OKP), RFC 9864.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from compliance.atrest.secrets import create_secret, read_secret, write_secret
from compliance.configuration import ConfigError
from compliance.files import write_atomically

TOKEN_KEY, FORMER = "token.key", "token-former.pub"
# The fully specified name of RFC 9864; what was called EdDSA, with this curve and no other.
ALGORITHM = "Ed25519"


class TokenKey:
    """The signing key in a directory; for any number of threads.

    Args:
        authority: the directory of the hub's authority.
    """

    def __init__(self, authority: Path) -> None:
        self._path = authority / TOKEN_KEY
        self._former = authority / FORMER
        self._known: tuple[object, tuple[OKPKey, ...]] = (None, ())

    def made(self) -> TokenKey:
        """Make the key if there is none, so that copies of the directory have the same.

        Raises:
            ConfigError: it cannot be used.
        """
        self.signing()
        return self

    def signing(self) -> OKPKey:
        """Return the key that signs, made if there is none.

        Raises:
            ConfigError: it cannot be used.
        """
        if not self._path.exists():
            # Of several processes that do, one wins.
            create_secret(self._path, _drawn())
        return self._keys()[0]

    def public(self, kid: str) -> OKPKey | None:
        """Return the key of this id, if its tokens count."""
        return next((key for key in self._keys() if key.thumbprint() == kid), None)

    def document(self) -> dict[str, object]:
        """Return the public keys as a JWK set (RFC 7517, section 5)."""
        self.signing()
        return {
            "keys": [
                {
                    **key.as_dict(private=False),
                    "kid": key.thumbprint(),
                    "use": "sig",
                    "alg": ALGORITHM,
                }
                for key in self._keys()
            ]
        }

    def replace(self) -> None:
        """Put a new key in place; tokens of the one before it are still taken until they end."""
        if self._path.exists():
            public = _load(self._path).public_key()
            data = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            write_atomically(self._former, data)
        write_secret(self._path, _drawn())

    def _keys(self) -> tuple[OKPKey, ...]:
        stamp = tuple(_stamp(path) for path in (self._path, self._former))
        if self._known[0] != stamp:
            self._known = stamp, self._read()
        return self._known[1]

    def _read(self) -> tuple[OKPKey, ...]:
        if not self._path.exists():
            return ()
        private = _load(self._path).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            found = [OKPKey.import_key(private)]
            if self._former.exists():
                found.append(OKPKey.import_key(self._former.read_bytes()))
        except (OSError, ValueError, JoseError) as error:
            raise ConfigError(f"{FORMER}: cannot be read; remove it") from error
        return tuple(found)


def _drawn() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(read_secret(path), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path.name}: cannot be read; restore it, or remove it") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path.name}: not an Ed25519 key; remove it, and a new one is made")
    return key


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
