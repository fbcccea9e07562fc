"""Federated averaging of one block's expert: masked updates in, their average out.

    member    clip its update to a public norm, cut to fixed point, times its rows
              add for every other member a stream that both derive: plus at one, minus at
              the other
    hub       add up the words of all members: the streams cancel, the sum is what is left;
              divide by all rows, and send the average round

What a single member adds is uniform words to whoever lacks the key of one of its pairs. The
average of two members less one's own update is the other's: it is the outcome of DP-SGD, and
nothing here is a secret of a person. There is no way to go on without a member: a round in
which one is missing is void, and stays paid for.

Source:
    McMahan et al. 2017 (arXiv 1602.05629), Algorithm 1; Bonawitz et al. 2017 (eprint
    2017/281), section 4, with masks of pairs alone: without their recovery from dropouts.
    ChaCha20 as in RFC 8439, section 2.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.vertical.axis import Reals

Words = NDArray[np.uint64]

# A round moves each weight by less than the rate times its steps; most updates are below 8.
CLIP_NORM = 32.0
FRACTION_BITS = 20
# 2^5 norm, 2^20 fraction, 2^31 rows, 2^4 members: sums stay below 2^63.
MAX_ROWS = 1 << 31
MAX_MEMBERS = 16
MAX_WEIGHTS = 1 << 18
WORD_SIZE = 8
_NONCE = bytes(16)


def mask_update(update: Reals, rows: int, ours: str, keys: Mapping[str, bytes]) -> Words:
    """Return a member's masked words.

    Shapes:
        update, result: (weights,).

    Args:
        rows: of this member; the update counts so many times.
        keys: by name of every other member, 32 bytes, used for this round alone.

    Privacy:
        The caller has paid for the update. Clipping is of the update as a whole and needs no
        budget: it keeps the words within the ring, and one member from drowning the others.
    """
    if not 1 <= rows <= MAX_ROWS or not 1 <= len(keys) < MAX_MEMBERS:
        raise UnsupportedParameterError("average: rows or members out of range; sample fewer")
    if len(update) > MAX_WEIGHTS or not np.isfinite(update).all():
        raise UnsupportedParameterError(
            f"average: {len(update)} weights, need finite numbers and at most {MAX_WEIGHTS}"
        )
    clipped = update * min(1.0, CLIP_NORM / max(float(np.linalg.norm(update)), 1e-12))
    fixed = np.rint(clipped * 2.0**FRACTION_BITS).astype(np.int64)
    words: Words = (fixed * rows).view(np.uint64)
    for theirs, key in keys.items():
        mask = _stream(key, len(words))
        words = words + mask if ours < theirs else words - mask
    return words


def average(parts: Iterable[tuple[Words, int]]) -> Reals:
    """Return the average update of all members, weighted by their rows.

    Args:
        parts: each member's masked words and rows; all of them, or the result is noise.

    Raises:
        MalformedMessageError: the parts are not of one size, or a row count is out of range.
    """
    found = list(parts)
    sizes = {len(words) for words, _ in found}
    if len(sizes) != 1 or len(found) > MAX_MEMBERS:
        raise MalformedMessageError(f"average: updates of {len(sizes)} sizes, expected one")
    if not all(1 <= rows <= MAX_ROWS for _, rows in found):
        raise MalformedMessageError("average: rows out of range")
    total = np.zeros(sizes.pop(), dtype=np.uint64)
    for words, _ in found:
        total += words
    rows = sum(rows for _, rows in found)
    result: Reals = total.view(np.int64) / (2.0**FRACTION_BITS * rows)
    return result


@dataclass(slots=True)
class Averaging:
    """What the hub keeps of one block's rounds: how far the weights have moved so far.

    Attributes:
        members: whose updates make a round; each exactly once.
    """

    members: tuple[str, ...]
    moved: Reals = field(default_factory=lambda: np.zeros(0), repr=False)

    def add_round(self, parts: Mapping[str, tuple[Words, int]]) -> Reals:
        """Take in a round and return how far the weights have moved since the beginning.

        Raises:
            MalformedMessageError: a member is missing, or the sizes differ.
        """
        if set(parts) != set(self.members):
            raise MalformedMessageError("average: not the updates of all members")
        step = average(parts.values())
        if len(self.moved) not in {0, len(step)}:
            raise MalformedMessageError("average: another size than in the round before")
        # No member moves by more than the clip norm, so neither does their average.
        if not float(np.linalg.norm(step)) <= CLIP_NORM * (1 + 1e-6) + 1e-3:
            raise MalformedMessageError("average: the masks do not cancel; end the run")
        self.moved = step if len(self.moved) == 0 else self.moved + step
        return self.moved


def encode_reals(values: Reals) -> str:
    """Write numbers as hexadecimal text of little-endian doubles."""
    return values.astype("<f8").tobytes().hex()


def decode_reals(text: object) -> Reals:
    """Read what `encode_reals` wrote.

    Raises:
        MalformedMessageError: on any other text.
    """
    values = np.frombuffer(_bytes(text), dtype="<f8").astype(np.float64)
    if not np.isfinite(values).all():
        raise MalformedMessageError("weights: a number is not finite")
    return values


def encode_masked(words: Words) -> str:
    """Write masked words as hexadecimal text, little-endian."""
    return words.astype("<u8").tobytes().hex()


def decode_masked(text: object) -> Words:
    """Read what `encode_masked` wrote.

    Raises:
        MalformedMessageError: on any other text.
    """
    return np.frombuffer(_bytes(text), dtype="<u8").astype(np.uint64)


def _bytes(text: object) -> bytes:
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else None
    except ValueError:
        data = None
    if data is None or len(data) % WORD_SIZE or len(data) > WORD_SIZE * MAX_WEIGHTS:
        raise MalformedMessageError("weights: not a text of at most 2^18 numbers")
    return data


def _stream(key: bytes, count: int) -> Words:
    encryptor = Cipher(algorithms.ChaCha20(key, _NONCE), mode=None).encryptor()
    data = encryptor.update(bytes(count * WORD_SIZE))
    return np.frombuffer(data, dtype="<u8").astype(np.uint64)
