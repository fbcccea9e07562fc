"""How an organisation finds a person again in its own records without writing down whom.

    token = "subject/" || hex(HMAC-SHA-256(subject key, label || canonical identifier))

The canonical identifier carries its type, so the same digits as a telephone and as an account
are two persons. The token goes into the private part of log entries (`About.subject`), where
it is sealed, and into the file of requests. The key lies in `rights/subject.key` and never
leaves the organisation: with it guesses can be tested, so it is guarded like the data itself.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path

from compliance.atrest.secrets import create_secret, read_secret
from compliance.configuration import ConfigError
from compliance.files import DIRECTORY_MODE
from protocols.identifiers import IdentifierKind, canonicalize

FOLDER = "rights"
SUBJECT_KEY = "subject.key"
KEY_SIZE = 32
PREFIX = "subject/"
_LABEL = b"lianfang/rights/subject/v1\x00"
_OTHERS = 0o077

Random = Callable[[int], bytes]


def subject_token(key: bytes, kind: IdentifierKind, value: str) -> str:
    """Return the token of an identifier as people write it.

    Raises:
        InvalidIdentifierError: the value is none of its kind.
    """
    return canonical_token(key, canonicalize(kind, value))


def canonical_token(key: bytes, canonical: bytes) -> str:
    """Return the token of an identifier in its canonical bytes."""
    if len(key) != KEY_SIZE:
        raise ValueError(f"subject key: {len(key)} bytes, need {KEY_SIZE}")
    return PREFIX + hmac.digest(key, _LABEL + canonical, "sha256").hex()


def subject_key(root: Path, random: Random) -> bytes:
    """Return the subject key of an organisation's directory, made at the first time.

    Raises:
        ConfigError: it is readable by others, or is no key.
    """
    return keep_key(rights_folder(root) / SUBJECT_KEY, random)


def rights_folder(root: Path) -> Path:
    """Return the directory of persons' requests within an organisation's directory."""
    folder = root / FOLDER
    folder.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    return folder


def keep_key(path: Path, random: Random) -> bytes:
    """Return the key of a file, which is made if there is none.

    Raises:
        ConfigError: it is readable by others, or is no key.
    """
    if not path.exists():
        create_secret(path, random(KEY_SIZE))
    if path.stat().st_mode & _OTHERS:
        raise ConfigError(f"{path.name}: readable by others; run chmod 600 and think who read it")
    key = read_secret(path)
    if len(key) != KEY_SIZE:
        raise ConfigError(f"{path.name}: {len(key)} bytes, need {KEY_SIZE}; restore it")
    return key
