"""Private parts: read back with proof, and gone for good when erased."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from compliance.errors import LogCorruptError
from compliance.log.errors import PartErasedError, UnknownPartError
from compliance.log.private import PrivateParts
from compliance.log.sqlstore import SqlStorage
from compliance.log.storage import Place
from protocols.tlog.private import PrivatePart
from protocols.tlog.proof import verify_proof

ANNA = PrivatePart("token-anna", "case-1", "the caller named an account")
BERT = PrivatePart("token-bert", "case-1", "the same call")
ANNA_LATER = PrivatePart("token-anna", "case-2", "a new claim")


def fill(world, tools, parts=(ANNA, BERT, ANNA_LATER)):
    """Append an entry with each part; return the parts and the entries."""
    kept, log, entries = tools.make_parts(world.storage), world.open(), []
    for number, part in enumerate(parts):
        sealed = kept.seal(part)
        entry = replace(tools.make_entry(number), commitment=sealed.commitment, sequence=number)
        assert log.append(entry, sealed) == number
        entries.append(entry)
    log.checkpoint()
    return kept, log, entries


def at(tools, *indices):
    return [Place(tools.ORIGIN, index) for index in indices]


def test_part_is_read_back_and_found(world, tools):
    kept, _, entries = fill(world, tools)
    for number, part in enumerate((ANNA, BERT, ANNA_LATER)):
        (place,) = at(tools, number)
        assert kept.read(place, entries[number].commitment) == part
    assert kept.find_case("case-1") == at(tools, 0, 1)
    assert kept.find_subject("token-anna") == at(tools, 0, 2)
    assert kept.find_subject("case-1") == []
    with pytest.raises(UnknownPartError):
        kept.read(Place(tools.ORIGIN, 3), entries[0].commitment)


def test_part_of_another_entry_does_not_pass(world, tools):
    kept, _, entries = fill(world, tools)
    with pytest.raises(LogCorruptError):
        kept.read(Place(tools.ORIGIN, 0), entries[1].commitment)
    stranger = PrivateParts(world.storage, master_key=b"x" * 32, index_key=b"i" * 32, random=bytes)
    with pytest.raises(LogCorruptError):
        stranger.read(Place(tools.ORIGIN, 0), entries[0].commitment)


def test_part_that_was_not_committed_to_does_not_pass(memory_world, tools):
    world = memory_world
    kept = tools.make_parts(world.storage)
    first, other = kept.seal(ANNA), kept.seal(BERT)
    # Whoever has the master key can seal another text under the commitment of the entry.
    key = ChaCha20Poly1305(b"m" * 32).decrypt(other.key[:12], other.key[12:], other.commitment)
    text = ChaCha20Poly1305(key).decrypt(bytes(12), other.sealed, other.commitment)
    forged = replace(
        first,
        sealed=ChaCha20Poly1305(key).encrypt(bytes(12), text, first.commitment),
        key=bytes(12) + ChaCha20Poly1305(b"m" * 32).encrypt(bytes(12), key, first.commitment),
    )
    entry = replace(tools.make_entry(0), commitment=first.commitment)
    world.open().append(entry, forged)
    with pytest.raises(LogCorruptError, match="commits"):
        kept.read(Place(tools.ORIGIN, 0), first.commitment)


def test_erased_subject_leaves_the_others_and_every_proof(world, tools):
    kept, log, entries = fill(world, tools)
    proofs = [log.prove(number) for number in range(3)]
    assert kept.erase_subject("token-anna", 99) == at(tools, 0, 2)
    for number in (0, 2):
        with pytest.raises(PartErasedError, match="99"):
            kept.read(Place(tools.ORIGIN, number), entries[number].commitment)
    assert kept.find_subject("token-anna") == []
    assert kept.find_case("case-1") == at(tools, 1)
    assert kept.read(Place(tools.ORIGIN, 1), entries[1].commitment) == BERT
    for number, proof in enumerate(proofs):
        assert log.prove(number) == proof
        verify_proof(proof, entries[number].encode(), world.policy)
    world.check_log(3)
    world.open()


def test_erased_case_takes_all_its_subjects(world, tools):
    kept, _, entries = fill(world, tools)
    assert kept.erase_case("case-1", 99) == at(tools, 0, 1)
    assert kept.find_subject("token-anna") == at(tools, 2)
    assert kept.read(Place(tools.ORIGIN, 2), entries[2].commitment) == ANNA_LATER


def test_same_part_is_never_sealed_alike(memory_world, tools):
    kept = tools.make_parts(memory_world.storage)
    first, again = kept.seal(ANNA), kept.seal(ANNA)
    assert first.commitment != again.commitment
    assert first.key != again.key
    assert first.case_tag == again.case_tag
    # Texts of somewhat different lengths are not told apart by size.
    assert len(kept.seal(BERT).sealed) == len(first.sealed)
    assert "token" not in repr(first) + repr(ANNA)


def test_stored_part_shows_nothing_without_the_keys(tmp_path, tools):
    world = tools.World(SqlStorage.open(f"sqlite:///{tmp_path}/log.db"), tmp_path)
    fill(world, tools)
    world.storage.close()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(text in data for text in (b"token-", b"case-1", b"account"))


def test_erased_key_is_in_no_file(tmp_path, tools):
    world = tools.World(SqlStorage.open(f"sqlite:///{tmp_path}/log.db"), tmp_path)
    many = [PrivatePart(f"token-{n}", f"case-{n}", "reason") for n in range(40)]
    kept, _, _ = fill(world, tools, many)
    stored = [world.storage.part(Place(tools.ORIGIN, n)) for n in range(40)]

    def left():
        files = [path.read_bytes() for path in tmp_path.glob("log.db*")]
        assert len(files) >= 2
        return [
            any(secret in data for data in files for secret in secrets)
            for secrets in ((p.key, p.sealed[:64], p.subject_tag, p.case_tag) for p in stored)
        ]

    assert left() == [True] * 40
    for number in range(0, 40, 2):
        kept.erase_case(f"case-{number}", 99)
    assert left() == [False, True] * 20
    world.storage.close()
