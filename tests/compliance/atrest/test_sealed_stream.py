"""The sealed stream of backups: any length goes through, no alteration does."""

import io
import os

import pytest

from compliance.atrest import stream as module
from compliance.atrest.envelope import SALT_SIZE, TAG_SIZE, Material
from compliance.atrest.errors import SealedKeysError
from compliance.atrest.stream import CHUNK, OpeningStream, SealingStream

KEY = Material.of_key(b"k" * 32)


def sealed(data: bytes, key: Material = KEY) -> bytes:
    out = io.BytesIO()
    stream = SealingStream(out, key, os.urandom)
    for at in range(0, len(data), 100_000):
        stream.write(data[at : at + 100_000])
    stream.finish()
    return out.getvalue()


def opened(data: bytes, size: int, key: Material = KEY) -> bytes:
    stream = OpeningStream(io.BytesIO(data), key, "backup")
    found = stream.read(size)
    stream.finish()
    return found


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17])
def test_any_length_goes_through(size):
    data = os.urandom(size)
    archive = sealed(data)
    assert opened(archive, size) == data
    assert data[:64] not in archive or size < 64


def test_every_cut_is_noticed():
    size = 2 * CHUNK + 5
    archive = sealed(bytes(size))
    body = len(archive) - size - 3 * TAG_SIZE
    whole = CHUNK + TAG_SIZE
    for end in (0, 10, 30, body, body + 1, body + whole, body + 2 * whole, len(archive) - 1):
        with pytest.raises(SealedKeysError):
            opened(archive[:end], size)


def test_every_altered_byte_is_noticed():
    size = CHUNK + 5
    archive = sealed(bytes(size))
    body = len(archive) - size - 2 * TAG_SIZE
    for at in [*range(0, body, 7), body - SALT_SIZE, body, body + CHUNK, len(archive) - 1]:
        bad = bytearray(archive)
        bad[at] ^= 1
        with pytest.raises(SealedKeysError):
            opened(bytes(bad), size)


def test_exchanged_doubled_and_added_chunks_are_noticed():
    size = 3 * CHUNK
    archive = sealed(os.urandom(size))
    whole = CHUNK + TAG_SIZE
    body = len(archive) - 3 * whole
    head, chunks = archive[:body], [archive[body + at * whole :][:whole] for at in range(3)]
    for order in ((1, 0, 2), (0, 0, 2), (0, 2), (0, 1, 2, 2), (0, 1, 1)):
        with pytest.raises(SealedKeysError):
            opened(head + b"".join(chunks[at] for at in order), size)
    with pytest.raises(SealedKeysError):
        opened(archive + b"\x00", size)


def test_chunks_of_another_archive_do_not_fit():
    size = 2 * CHUNK
    one, two = sealed(bytes(size)), sealed(bytes(size))
    with pytest.raises(SealedKeysError):
        opened(one[: -(CHUNK + TAG_SIZE)] + two[-(CHUNK + TAG_SIZE) :], size)


def test_reader_must_take_all():
    archive = sealed(bytes(CHUNK + 9))
    for size in (0, 9, CHUNK, CHUNK + 8, CHUNK + 10):
        with pytest.raises(SealedKeysError):
            opened(archive, size)


def test_another_key_does_not_open():
    with pytest.raises(SealedKeysError, match="does not open"):
        opened(sealed(b"data"), 4, Material.of_key(b"j" * 32))


def test_stream_ends_before_its_numbers_do(monkeypatch):
    monkeypatch.setattr(module, "_MAX_CHUNKS", 2)
    with pytest.raises(OverflowError):
        sealed(bytes(3 * CHUNK))
