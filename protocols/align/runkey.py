"""The run key: agreed by the partners over their sealed channels, unknown to the hub.

    every partner   -> every other: 32 random bytes
    every partner   -> every other: confirmation tag under the derived key

The key hides from anyone who misses a single contribution. The confirmation turns two
partners that disagree about who takes part, or about the run, into an error at once: without
it they would find no shared person and blame their tables. The hub has no turn in it.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.align.pseudonyms import RUN_KEY_SIZE
from protocols.codec import Reader, Writer
from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.program import Program, Receive, Send

CONTRIBUTION_SIZE = 32
_CONTRIBUTION = 1
_CONFIRMATION = 2


def agree_run_key(
    ours: str, partners: Sequence[str], contribution: bytes, *, context: bytes = b""
) -> Program[bytes]:
    """Agree on the run key with the other partners.

    Args:
        ours: our name, one of `partners`.
        partners: the names of all that take part, the hub not among them; order is free.
        contribution: 32 fresh random bytes.
        context: what the key is for, such as the hash of the run's plan; alike on every side.

    Returns:
        32 bytes, the same at every partner.

    Raises:
        InvalidProofError: a partner derived another key.
        MalformedMessageError: a message does not decode.
    """
    names = sorted(set(partners))
    if ours not in names or len(names) != len(partners) or len(names) < 2:  # noqa: PLR2004 a key is shared by two at least
        raise UnsupportedParameterError("run key: expected two or more different names and ours")
    if len(contribution) != CONTRIBUTION_SIZE:
        raise UnsupportedParameterError(
            f"run key: contribution of {len(contribution)} bytes, expected {CONTRIBUTION_SIZE}"
        )
    others = [name for name in names if name != ours]
    for name in others:
        yield Send(name, encode_part(_CONTRIBUTION, contribution))
    parts = {ours: contribution}
    for name in others:
        parts[name] = decode_part(_CONTRIBUTION, (yield Receive(name)))
    key, confirmation_key = _derive(parts, context)
    for name in others:
        yield Send(name, encode_part(_CONFIRMATION, _tag(confirmation_key, ours)))
    for name in others:
        theirs = decode_part(_CONFIRMATION, (yield Receive(name)))
        if not hmac.compare_digest(theirs, _tag(confirmation_key, name)):
            raise InvalidProofError(
                f"run key: {name} derived another key; compare partners and plan of the run"
            )
    return key


def encode_part(step: int, value: bytes) -> bytes:
    """Write `step (u8) || 32 bytes`."""
    return Writer().u8(step).encode() + value


def decode_part(step: int, data: bytes) -> bytes:
    """Read the 32 bytes of a step; nothing may follow.

    Raises:
        MalformedMessageError: on any other byte string, another step's included.
    """
    reader = Reader(data, "run key")
    found = reader.u8()
    if found != step:
        raise MalformedMessageError(f"run key: step {found}, expected {step}")
    value = reader.take(CONTRIBUTION_SIZE)
    reader.finish()
    return value


def _derive(parts: dict[str, bytes], context: bytes) -> tuple[bytes, bytes]:
    material, names = b"", Writer()
    for name in sorted(parts):
        material += parts[name]
        names.text(name)
    info = b"lianfang/align/run key/v1" + names.block(context).encode()
    size = RUN_KEY_SIZE + 32
    derived = HKDF(algorithm=SHA256(), length=size, salt=None, info=info).derive(material)
    return derived[:RUN_KEY_SIZE], derived[RUN_KEY_SIZE:]


def _tag(key: bytes, name: str) -> bytes:
    return hmac.digest(key, b"confirm/" + name.encode(), "sha256")
