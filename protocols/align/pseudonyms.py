"""Run pseudonyms: what stands for a person during one run, and in no other.

    identifier --source--> 32 or more pseudorandom bytes --run key--> 16-byte pseudonym

The source is what keeps a stranger from trying all identifiers; the run key, which only
partners hold, keeps the hub from linking two runs and from testing a guess at all. Which
rows are sampled and held out follows from the pseudonym under the run key, so that every
partner chooses alike and the hub cannot tell the choice.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from numpy.typing import NDArray

from protocols.errors import UnsupportedParameterError

RUN_KEY_SIZE = 32
PSEUDONYM_SIZE = 16
MIN_OUTPUT_SIZE = 32  # bytes of a source's output; RFC 9497 gives 64
_DRAW_BITS = 53  # bits of a hash that a float holds exactly

Pseudonyms = NDArray[np.uint8]


class PseudonymSource(Protocol):
    """A pseudorandom function on canonical identifiers that a stranger cannot evaluate.

    The same identifier gives the same output at every partner of the run.
    """

    def evaluate(self, identifiers: Sequence[bytes]) -> Sequence[bytes]:
        """Return one output of at least 32 bytes for each identifier, in order."""
        ...


@dataclass(frozen=True, slots=True)
class KeyedHashSource:
    """HMAC-SHA256 under a key that partners hold and the hub does not.

    Whoever holds the key can test guesses against outputs that it sees. Partners hold it and
    see none but their own; the hub sees pseudonyms and does not hold it. A partner and the
    hub together could test: where that must not be, an oblivious function takes its place.
    """

    key: bytes = field(repr=False)

    @classmethod
    def of_run(cls, run_key: bytes) -> KeyedHashSource:
        """Derive the key from the run key."""
        return cls(_subkey(run_key, "source"))

    def evaluate(self, identifiers: Sequence[bytes]) -> list[bytes]:
        """Return the keyed hash of each identifier."""
        return [hmac.digest(self.key, identifier, "sha256") for identifier in identifiers]


def pseudonym(run_key: bytes, prf_output: bytes) -> bytes:
    """Return the pseudonym of one source output in this run."""
    return pseudonyms(run_key, [prf_output]).tobytes()


def pseudonyms(run_key: bytes, prf_outputs: Sequence[bytes]) -> Pseudonyms:
    """Return the pseudonyms of many source outputs.

    Shapes:
        result: (len(prf_outputs), 16), one pseudonym a row, in the order given.

    Raises:
        UnsupportedParameterError: the key or an output is too short to hide anything.
    """
    key = _subkey(run_key, "pseudonym")
    shortest = min(map(len, prf_outputs), default=MIN_OUTPUT_SIZE)
    if shortest < MIN_OUTPUT_SIZE:
        raise UnsupportedParameterError(
            f"source: output of {shortest} bytes, need {MIN_OUTPUT_SIZE}"
        )
    digest = hmac.digest
    joined = b"".join(digest(key, output, "sha256")[:PSEUDONYM_SIZE] for output in prf_outputs)
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, PSEUDONYM_SIZE)


def sample(run_key: bytes, rows: Pseudonyms, fraction: float) -> NDArray[np.bool_]:
    """Choose about `fraction` of the population, the same people at every partner.

    Shapes:
        rows: (rows, 16); result: (rows,), true where the person takes part.
    """
    return _draw(_subkey(run_key, "sample"), rows, fraction)


def held_out(run_key: bytes, rows: Pseudonyms, fraction: float) -> NDArray[np.bool_]:
    """Choose about `fraction` of the people for validation, independently of `sample`.

    Shapes:
        rows: (rows, 16); result: (rows,), true where the person is kept from training.
    """
    return _draw(_subkey(run_key, "held out"), rows, fraction)


def _draw(key: bytes, rows: Pseudonyms, fraction: float) -> NDArray[np.bool_]:
    if not 0.0 <= fraction <= 1.0:
        raise UnsupportedParameterError(f"fraction: {fraction}, expected 0 to 1")
    data = np.ascontiguousarray(rows).tobytes()
    starts = range(0, len(data), PSEUDONYM_SIZE)
    digest = hmac.digest
    joined = b"".join(digest(key, data[i : i + PSEUDONYM_SIZE], "sha256")[:8] for i in starts)
    words = np.frombuffer(joined, dtype=">u8") >> np.uint64(64 - _DRAW_BITS)
    # The hash as a number in [0, 1): a fraction of 1 takes everyone and 0 no one.
    chosen: NDArray[np.bool_] = words.astype(np.float64) < fraction * 2.0**_DRAW_BITS
    return chosen


def _subkey(run_key: bytes, purpose: str) -> bytes:
    if len(run_key) != RUN_KEY_SIZE:
        raise UnsupportedParameterError(f"run key: {len(run_key)} bytes, expected {RUN_KEY_SIZE}")
    info = b"lianfang/align/" + purpose.encode() + b"/v1"
    return HKDFExpand(algorithm=SHA256(), length=32, info=info).derive(run_key)
