"""Sealing a directory's secrets, and opening them for good again.

    seal     1 the keyring is written          from here on new secrets are sealed
             2 each secret is replaced as a whole by its sealed form, then overwritten
    unseal   1 each sealed file is replaced by its clear form
             2 the keyring goes

Both forms are read everywhere, so a crash at any point leaves a directory that opens; the same
command again finishes. Stop what serves the directory first: a program that was started
without a key cannot read what was sealed under it.

Overwriting takes care of the disk's own copy. What a flash disk, a file system with history or
a backup has kept is beyond reach: where that matters, make new keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from compliance.atrest.envelope import (
    DEFAULT_COST,
    MAGIC,
    Cost,
    Kind,
    Material,
    Random,
    is_sealed,
)
from compliance.atrest.errors import SealedKeysError
from compliance.atrest.keyring import KEYRING, Keyring, load_keyring, store_keyring
from compliance.atrest.ring import Ring
from compliance.atrest.secrets import open_secret, write_secret
from compliance.files import write_atomically

# Every place where a program of ours keeps a secret, relative to the organisation's directory.
SUFFIXES = (".key", ".share")
OTHERS = ("flower/control.token", "runs/*/checkpoint-*.bin")
_DRAFT = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """How the secrets of a directory lie.

    Args:
        kinds: what opens the keyring; empty without one.
        sealed, clear: names of files.
    """

    kinds: tuple[Kind, ...]
    sealed: tuple[str, ...]
    clear: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether there is a keyring and no secret lies in clear."""
        return bool(self.kinds) and not self.clear


def secrets_in(root: Path) -> list[Path]:
    """Return the files of a directory that hold secrets, leftovers of cut short writes included."""
    named = {path for path in root.rglob("*") if _holds_secret(path.name)}
    for pattern in OTHERS:
        named.update(root.glob(pattern))
    return sorted(path for path in named if path.is_file() and not path.is_symlink())


def standing(root: Path) -> Standing:
    """Tell how the secrets of a directory lie; opens nothing."""
    keyring = load_keyring(root)
    sealed: list[str] = []
    clear: list[str] = []
    for path in secrets_in(root):
        (sealed if _begins_sealed(path) else clear).append(path.relative_to(root).as_posix())
    kinds = () if keyring is None else tuple(wrap.kind for wrap in keyring.ring.wraps)
    return Standing(kinds, tuple(sealed), tuple(clear))


def seal(
    root: Path,
    material: Material | None,
    random: Random,
    *,
    cost: Cost = DEFAULT_COST,
    progress: Progress = lambda _done, _of: None,
) -> int:
    """Seal all secrets of a directory; return how many files were sealed now.

    Args:
        material: opens the keyring from now on; None where there is one and it is opened by
            the environment.

    Raises:
        SealedKeysError: there is a keyring that this does not open, or none and no material.
    """
    keyring = load_keyring(root)
    if keyring is None:
        if material is None:
            raise SealedKeysError(f"{root}: has no keyring yet; give the passphrase or key file")
        ring, _ = Ring.make(material, random, cost)
        keyring = Keyring(root, ring)
        store_keyring(keyring)
    if material is None:
        keyring.unlock()
    else:
        keyring.open_with(material)
    return _each(secrets_in(root), _seal_file, progress)


def unseal(root: Path, *, progress: Progress = lambda _done, _of: None) -> int:
    """Put all secrets of a directory in clear again; return how many files that were.

    Raises:
        SealedKeysError: there is no keyring, or it does not open.
    """
    keyring = load_keyring(root)
    if keyring is None:
        raise SealedKeysError(f"{root}: has no {KEYRING}; its keys are not sealed")
    keyring.unlock()
    count = _each(secrets_in(root), _unseal_file, progress)
    (root / KEYRING).unlink()
    return count


def change_opening(
    root: Path, material: Material, random: Random, *, beside: bool, cost: Cost = DEFAULT_COST
) -> Standing:
    """Let something new open the keyring, in the place of what did, or beside it.

    No secret is touched. A copy of the former keyring still opens with what opened it then.

    Args:
        beside: whether what opens it so far goes on to do so.

    Raises:
        SealedKeysError: there is no keyring, or it does not open.
    """
    keyring = load_keyring(root)
    if keyring is None:
        raise SealedKeysError(f"{root}: has no {KEYRING}; seal its keys first")
    keeps = frozenset(Kind) if beside else frozenset(Kind) - {material.kind}
    ring = keyring.ring.rewrapped(keyring.unlock(), material, random, cost=cost, keeps=keeps)
    store_keyring(replace(keyring, ring=ring))
    return standing(root)


def _each(paths: Iterable[Path], act: Callable[[Path], bool], progress: Progress) -> int:
    found = list(paths)
    count = 0
    for done, path in enumerate(found, start=1):
        count += act(path)
        progress(done, len(found))
    return count


def _seal_file(path: Path) -> bool:
    if _begins_sealed(path):
        return False
    if _DRAFT.fullmatch(path.name):
        # Nobody reads it any more: the write that made it was cut short.
        with _overwritten(path):
            path.unlink()
        return True
    with _overwritten(path):
        write_secret(path, path.read_bytes())
    return True


def _unseal_file(path: Path) -> bool:
    data = path.read_bytes()
    if not is_sealed(data):
        return False
    if _DRAFT.fullmatch(path.name):
        path.unlink()
        return True
    write_atomically(path, open_secret(path, data))
    return True


def _holds_secret(name: str) -> bool:
    draft = _DRAFT.fullmatch(name)
    return (draft["name"] if draft else name).endswith(SUFFIXES)


def _begins_sealed(path: Path) -> bool:
    with path.open("rb") as file:
        return is_sealed(file.read(len(MAGIC)))


@contextmanager
def _overwritten(path: Path) -> Iterator[None]:
    """Overwrite a file's bytes once its name stands for others; not if it has a second name."""
    file = os.open(path, os.O_RDWR)
    try:
        is_alone = os.fstat(file).st_nlink == 1
        yield
        if is_alone:
            os.pwrite(file, bytes(os.fstat(file).st_size), 0)
            os.fsync(file)
    finally:
        os.close(file)
