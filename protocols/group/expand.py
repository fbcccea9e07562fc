"""expand_message_xmd with SHA-512, the hash behind every scalar and element of the protocols.

Specification: RFC 9380, section 5.3.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha512

from protocols.errors import UnsupportedParameterError

HASH_SIZE = 64
BLOCK_SIZE = 128
MAX_TAG_SIZE = 255
MAX_LENGTH = 255 * HASH_SIZE

# Step 5, Z_pad: every first hash begins with one zero block, compressed once here.
_PADDED = sha512(bytes(BLOCK_SIZE))


def expand_message_xmd(message: bytes, tag: bytes, length: int) -> bytes:
    """Stretch `message` to `length` uniform bytes under a domain separation tag.

    Raises:
        UnsupportedParameterError: `length` is not in 1..16320.

    Source:
        RFC 9380, section 5.3.1; a tag over 255 bytes is hashed first (section 5.3.3).
    """
    if not 1 <= length <= MAX_LENGTH:
        raise UnsupportedParameterError(f"expanded length: {length} not in 1..{MAX_LENGTH}")
    tag_prime = _tag_prime(tag)
    first = _PADDED.copy()
    first.update(message + length.to_bytes(2, "big") + b"\x00" + tag_prime)
    seed = first.digest()
    block = sha512(seed + b"\x01" + tag_prime).digest()
    blocks = [block]
    for number in range(2, -(-length // HASH_SIZE) + 1):
        mixed = bytes(a ^ b for a, b in zip(seed, block, strict=True))
        block = sha512(mixed + number.to_bytes(1, "big") + tag_prime).digest()
        blocks.append(block)
    return b"".join(blocks)[:length]


def expand_messages(
    messages: Iterable[bytes], tag: bytes, *, prefix: bytes = b"", suffix: bytes = b""
) -> bytes:
    """Stretch many messages to 64 uniform bytes each, end to end.

    Every message stands between `prefix` and `suffix`, which are hashed or joined once.
    The same as `expand_message_xmd` for each, in half the time.
    """
    tag_prime = _tag_prime(tag)
    start = _PADDED.copy()
    start.update(prefix)
    end = suffix + HASH_SIZE.to_bytes(2, "big") + b"\x00" + tag_prime
    tail = b"\x01" + tag_prime
    blocks = []
    for message in messages:
        first = start.copy()
        first.update(message + end)
        blocks.append(sha512(first.digest() + tail).digest())
    return b"".join(blocks)


def _tag_prime(tag: bytes) -> bytes:
    if len(tag) > MAX_TAG_SIZE:
        tag = sha512(b"H2C-OVERSIZE-DST-" + tag).digest()
    return tag + len(tag).to_bytes(1, "big")
