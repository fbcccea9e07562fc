"""Find libsodium inside the installed pyzmq wheel, and refuse it where others could replace it.

pyzmq's wheels carry a current libsodium as a file of their own, so that loading it writes
nothing and needs no system package; pyzmq itself is never imported. The file must be the
one its wheel declares, and no folder on its path may let another user swap it.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import importlib.metadata
import re
import stat
from typing import Any

from protocols.errors import UnsupportedParameterError

DISTRIBUTION = "pyzmq"
# 1.0.20 is the oldest release whose ristretto255 this project has been tested with.
OLDEST_VERSION = (1, 0, 20)
_FILE_NAME = re.compile(r"libsodium[-.][^/]*(so|dylib|dll)[.0-9]*")


def load_sodium_library() -> ctypes.CDLL:
    """Load, initialise and version-check libsodium.

    Raises:
        UnsupportedParameterError: not installed, altered, replaceable by others, too old.
    """
    path = _find_file()
    _refuse_writable_path(path)
    library = ctypes.CDLL(str(path))
    # sodium_init picks the code for this processor; 1 means that it was done before.
    if library.sodium_init() not in {0, 1}:
        raise UnsupportedParameterError("libsodium: could not be initialised")
    library.sodium_version_string.restype = ctypes.c_char_p
    version = bytes(library.sodium_version_string()).decode()
    _require_version(version)
    return library


def _find_file() -> Any:
    """Return the resolved path of the library that the wheel declares.

    The path is a `pathlib.Path`, which importlib.metadata hands out without this package
    importing it.
    """
    try:
        declared = importlib.metadata.distribution(DISTRIBUTION).files or []
    except importlib.metadata.PackageNotFoundError as error:
        raise UnsupportedParameterError(
            f"libsodium: {DISTRIBUTION} is not installed; its wheel carries libsodium, install it"
        ) from error
    found = [file for file in declared if _FILE_NAME.fullmatch(file.name)]
    if len(found) != 1 or found[0].hash is None:
        raise UnsupportedParameterError(
            f"libsodium: the installed {DISTRIBUTION} declares {len(found)} libraries, expected 1; "
            "install the binary wheel from the package index, not a build from source"
        )
    path: Any = found[0].locate()
    path = path.resolve()
    if not path.is_file():
        raise UnsupportedParameterError(f"libsodium: file is missing; reinstall {DISTRIBUTION}")
    _require_digest(path.read_bytes(), found[0].hash.mode, found[0].hash.value)
    return path


def _require_digest(content: bytes, algorithm: str, expected: str) -> None:
    """Compare the file with its wheel's record (binary distribution format, section RECORD)."""
    digest = hashlib.new(algorithm, content).digest()
    if base64.urlsafe_b64encode(digest).rstrip(b"=") != expected.encode():
        raise UnsupportedParameterError(
            f"libsodium: file differs from its wheel's record; reinstall {DISTRIBUTION}"
        )


def _refuse_writable_path(path: Any) -> None:
    """Refuse a library that any user of the machine could replace.

    A sticky folder higher up is allowed: in it, none but the owner may rename what lies
    below. The library's own folder must not be open at all, since new files could be put
    beside it there.
    """
    for depth, place in enumerate((path, *path.parents)):
        mode = place.stat().st_mode
        protected = depth > 1 and mode & stat.S_ISVTX
        if mode & stat.S_IWOTH and not protected:
            raise UnsupportedParameterError(
                f"libsodium: {place} is writable by everyone; remove that permission (chmod o-w)"
            )


def _require_version(version: str) -> None:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < OLDEST_VERSION:
        oldest = ".".join(str(part) for part in OLDEST_VERSION)
        raise UnsupportedParameterError(f"libsodium: version {version}, need {oldest} or later")
