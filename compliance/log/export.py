"""A log as static files, the way C2SP tlog-tiles lays them out: for serving and for auditors.

    checkpoint   tile/<level>/<index>   tile/entries/<index>

The files are those of the published checkpoint, which is written last: whoever finds it finds
the tiles. An export into a directory that holds an earlier one adds what is new. A partial
tile stays until the full one is there, since earlier checkpoints may still be asked for.

The directory is a copy: `verify` tells whether it is whole, and a damaged one is made anew.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from compliance.errors import LogCorruptError
from compliance.log.errors import EntryPrunedError
from compliance.log.storage import Storage
from compliance.log.tree import StoredTree
from protocols.errors import MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.note import Note
from protocols.tlog.tiles import FULL, Bundle, Tile, bundles_of, tiles_of

CHECKPOINT = "checkpoint"
_FOLDER_MODE = 0o755


def export_log(storage: Storage, origin: str, directory: Path) -> Checkpoint | None:
    """Write the published log, or what an earlier export lacks of it; None if none is published.

    Bundles below the minimum index are left out; their tiles are not.

    Raises:
        LogCorruptError: the directory holds another log, or another history of it.
        StorageError: the storage cannot be read.
        OSError: the directory cannot be written.
    """
    data = storage.checkpoint(origin)
    if data is None:
        return None
    checkpoint = Checkpoint.parse(Note.decode(data).text)
    tree = StoredTree(storage, origin, checkpoint.size)
    since = _exported(directory, checkpoint, tree)
    directory.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    for tile in tiles_of(checkpoint.size, since):
        _write(directory, tile, tree.tile(tile))
    for bundle in bundles_of(checkpoint.size, since):
        try:
            content = tree.bundle(bundle)
        except EntryPrunedError:
            continue
        _write(directory, bundle, content)
    # One flush for all tiles, before the checkpoint that says that they are there.
    os.sync()
    _replace(directory / CHECKPOINT, data)
    return checkpoint


def _exported(directory: Path, checkpoint: Checkpoint, tree: StoredTree) -> int:
    """Return the size of the export that the directory holds, which ours must extend."""
    try:
        text = Note.decode((directory / CHECKPOINT).read_bytes()).text
        found = Checkpoint.parse(text)
    except FileNotFoundError:
        return 0
    except MalformedMessageError as error:
        raise LogCorruptError("export: the directory's checkpoint cannot be read") from error
    if found.origin != checkpoint.origin or found.size > checkpoint.size:
        raise LogCorruptError(
            f"export: the directory holds {found.size} entries of {found.origin}, to be "
            f"written are {checkpoint.size} of {checkpoint.origin}"
        )
    if tree.root(found.size) != found.root:
        raise LogCorruptError("export: the directory holds another history of this log")
    return found.size


def _write(directory: Path, place: Tile | Bundle, content: bytes) -> None:
    path = directory / place.path
    path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    _replace(path, content)
    if place.width == FULL:
        shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
