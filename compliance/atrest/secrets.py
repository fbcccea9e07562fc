"""Reading and writing of every secret that lies on disk: in clear, or sealed under a keyring.

    read_secret, write_secret    as `read_bytes` and `write_atomically`
    create_secret                writes a file unless it is there
    move_secret                  a sealed file opens under its own name only: it is sealed anew
    secret_file                  for libraries that want the path of a file with the key

Where no directory above has a keyring, secrets lie in clear, mode 600. Both forms are read
everywhere, so that sealing can stop half-way; what is written is sealed once there is a
keyring. The seal keeps a stolen disk or backup from telling anything; it does not keep out
whoever can write to the disk.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compliance.atrest.envelope import is_sealed
from compliance.atrest.errors import SealedKeysError
from compliance.atrest.keyring import KEYRING, keyring_of
from compliance.files import FILE_MODE, write_atomically


def read_secret(path: Path) -> bytes:
    """Return the secret that a file holds, sealed or in clear.

    Raises:
        OSError: as `Path.read_bytes`.
        SealedKeysError: it does not open.
    """
    return open_secret(path, path.read_bytes())


def open_secret(path: Path, data: bytes) -> bytes:
    """Return the secret in bytes that were read from this path.

    Raises:
        SealedKeysError: it does not open.
    """
    if not is_sealed(data):
        return data
    keyring = keyring_of(path)
    if keyring is None:
        raise SealedKeysError(f"{path}: is sealed, and {KEYRING} is gone; restore it from a backup")
    return keyring.unlock().open(keyring.name_of(path), data)


def write_secret(path: Path, data: bytes) -> None:
    """Replace a secret as a whole; durable on return.

    Raises:
        SealedKeysError: there is a keyring, and it is locked.
    """
    write_atomically(path, sealed_for(path, data))


def create_secret(path: Path, data: bytes) -> None:
    """Write a secret unless the file exists; whoever comes second keeps what the first wrote."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_atomically(draft, sealed_for(path, data))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def move_secret(old: Path, new: Path) -> None:
    """Put a secret in the place of another; after a crash either name still has it.

    Raises:
        FileNotFoundError: it is not there; another process was as quick.
    """
    data = old.read_bytes()
    if is_sealed(data):
        write_secret(new, open_secret(old, data))
        old.unlink(missing_ok=True)
    else:
        old.replace(new)


def sealed_for(path: Path, data: bytes) -> bytes:
    """Return what is to be written at a path for a secret; the same bytes without a keyring."""
    keyring = keyring_of(path)
    if keyring is None:
        return data
    return keyring.unlock().seal(keyring.name_of(path), data, os.urandom)


@contextmanager
def secret_file(path: Path) -> Iterator[Path]:
    """Give the path of a file that holds the secret in clear, within the block.

    A secret that lies in clear is its own file. A sealed one is put into memory that has no
    name on any disk, and goes with the process at the latest; where the system has no such
    memory, into a directory of its own, removed at the end of the block.

    Raises:
        OSError: it cannot be read. SealedKeysError: it does not open.
    """
    data = path.read_bytes()
    if not is_sealed(data):
        yield path
        return
    clear = open_secret(path, data)
    if hasattr(os, "memfd_create"):
        with _in_memory(path.name, clear) as found:
            yield found
    else:
        with tempfile.TemporaryDirectory(prefix="lianfang-") as folder:
            found = Path(folder) / path.name
            write_atomically(found, clear)
            yield found


@contextmanager
def _in_memory(name: str, data: bytes) -> Iterator[Path]:
    descriptor = memory_file(name, data)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    finally:
        os.close(descriptor)


def memory_file(name: str, data: bytes) -> int:
    """Return the descriptor of a file in memory, which children do not inherit."""
    descriptor = os.memfd_create(name)
    try:
        os.fchmod(descriptor, FILE_MODE)  # or any user who may look into /proc could open it
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
