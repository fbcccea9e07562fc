"""From the output of the shared-key function to tags and record keys.

    root    = HKDF-Extract(salt = domain || epoch, output of 64 bytes)
    tags    = HKDF-Expand(root, domain || contributor, 32)      suspect 16 || victim 16
    key     = HKDF-Expand(root, domain || contributor || slot, 32)

Tags depend on the contributor, so that the hub, which holds all tables, cannot see that
two contributors report the same identifier. Everything here depends on the epoch through
the root and is worthless in the next one. Roots and keys are secret: whoever has a root
can read what all contributors say about one identifier.

Source:
    RFC 5869, sections 2.2 and 2.3. All outputs are of one hash, so Expand is one HMAC.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from protocols.errors import UnsupportedParameterError
from protocols.lookup.payload import MAX_CONTRIBUTOR, Slot

OUTPUT_SIZE = 64
ROOT_SIZE = 32
TAG_SIZE = 16
KEY_SIZE = 32

_ROOT_DOMAIN = b"lianfang/lookup/root/v1"
_TAGS_DOMAIN = b"lianfang/lookup/tags/v1"
_KEY_DOMAIN = b"lianfang/lookup/key/v1"
_LAST = b"\x01"  # the block counter of HKDF-Expand; one block is all that is needed
_BLOCK = 64  # bytes that SHA-256 takes at a time
_CHUNK = 65_536


def derive_root(epoch: int, output: bytes) -> bytes:
    """Derive the root of one identifier in one epoch from the output of `Query.finish`.

    Raises:
        UnsupportedParameterError: the output is not 64 bytes.
    """
    if len(output) != OUTPUT_SIZE:
        raise UnsupportedParameterError(f"output: {len(output)} bytes, expected {OUTPUT_SIZE}")
    return hmac.digest(_ROOT_DOMAIN + epoch.to_bytes(8, "big"), output, "sha256")


def derive_tags(root: bytes, contributor: int) -> tuple[bytes, bytes]:
    """Derive the tags under which one contributor may have a record, indexed by `Slot`."""
    tags = _expand(root, _tags_info(contributor))
    return tags[:TAG_SIZE], tags[TAG_SIZE:]


def derive_record_key(root: bytes, contributor: int, slot: Slot) -> bytes:
    """Derive the key of the one record that a contributor may have in a slot."""
    info = _KEY_DOMAIN + _number(contributor) + bytes([slot])
    return _expand(root, info)


def tag_table(roots: Sequence[bytes] | bytes, contributors: Sequence[int]) -> NDArray[np.uint64]:
    """Return the first eight bytes of every tag, as numbers that compare as the bytes do.

    Shapes:
        roots: n of 32 bytes, in a sequence or joined.
        result: (n, 2 * contributors); column `2 * position + slot`.
    """
    infos = [_tags_info(contributor) + _LAST for contributor in contributors]
    parts = [_expand_all(chunk, infos) for chunk in _chunks(roots)]
    return np.concatenate(parts) if parts else np.empty((0, 2 * len(infos)), np.uint64)


def _chunks(roots: Sequence[bytes] | bytes) -> Iterator[Sequence[bytes]]:
    """Cut the roots into pieces, so that a million of them need little memory at once."""
    if not isinstance(roots, bytes | bytearray | memoryview):
        yield from (roots[at : at + _CHUNK] for at in range(0, len(roots), _CHUNK))
        return
    if len(roots) % ROOT_SIZE:
        raise UnsupportedParameterError(f"roots: {len(roots)} bytes, no multiple of {ROOT_SIZE}")
    size = ROOT_SIZE
    for start in range(0, len(roots), _CHUNK * size):
        end = min(start + _CHUNK * size, len(roots))
        yield [bytes(roots[at : at + size]) for at in range(start, end, size)]


def _expand_all(roots: Sequence[bytes], infos: Sequence[bytes]) -> NDArray[np.uint64]:
    """Expand every root under every info: HMAC written out, a third cheaper than `hmac`.

    Shapes:
        result: (roots, 2 * infos).
    Source:
        RFC 2104, section 2, with the paddings of all keys at once.
    """
    for root in roots:
        _require_root(root)
    keys = np.zeros((len(roots), _BLOCK), np.uint8)
    keys[:, :ROOT_SIZE] = np.frombuffer(b"".join(roots), np.uint8).reshape(-1, ROOT_SIZE)
    table = np.empty((len(roots), 2 * len(infos)), np.uint64)
    for at, info in enumerate(infos):
        message = np.tile(np.frombuffer(info, np.uint8), (len(roots), 1))
        inner = _hash_rows(np.hstack([keys ^ np.uint8(0x36), message]))
        outer = _hash_rows(np.hstack([keys ^ np.uint8(0x5C), inner]))
        # Of four words, the first one of either tag.
        table[:, 2 * at : 2 * at + 2] = outer.view(">u8")[:, ::2]
    return table


def _hash_rows(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    data, width = rows.tobytes(), rows.shape[1]
    digests = [sha256(data[at : at + width]).digest() for at in range(0, len(data), width)]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, ROOT_SIZE)


def _expand(root: bytes, info: bytes) -> bytes:
    _require_root(root)
    return hmac.digest(root, info + _LAST, "sha256")


def _require_root(root: bytes) -> None:
    if len(root) != ROOT_SIZE:
        raise UnsupportedParameterError(f"root: {len(root)} bytes, expected {ROOT_SIZE}")


def _tags_info(contributor: int) -> bytes:
    return _TAGS_DOMAIN + _number(contributor)


def _number(contributor: int) -> bytes:
    if not 1 <= contributor <= MAX_CONTRIBUTOR:
        raise UnsupportedParameterError(
            f"contributor {contributor}: not in 1..{MAX_CONTRIBUTOR}, see the epoch manifest"
        )
    return contributor.to_bytes(2, "big")
