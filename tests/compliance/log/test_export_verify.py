"""Exported logs: laid out as others expect, grown in place, and every damage told."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from compliance.errors import LogCorruptError
from compliance.log.export import export_log
from compliance.log.form import EntryForms
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from compliance.log.verify import verify_export
from protocols.errors import MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint
from protocols.tlog.entry import Decision, Entry, Outcome, Verb
from protocols.tlog.merkle import hash_leaf, root_of
from protocols.tlog.note import KeyKind, Note, Signer
from protocols.tlog.policy import Policy
from protocols.tlog.tiles import bundles_of, decode_bundle, encode_bundle, tiles_of

GOLDEN = Path(__file__).parents[2] / "vectors" / "tlog" / "golden_cosigned_log"
SIZE = 600


def files(directory):
    return {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}


def paths_of(size):
    return {"checkpoint"} | {place.path for place in [*tiles_of(size), *bundles_of(size)]}


@pytest.fixture
def exported(memory_world, tools, tmp_path):
    """A world with a published log of 600 entries, and its export."""
    log = memory_world.open()
    memory_world.fill(log, SIZE)
    log.checkpoint()
    directory = tmp_path / "export"
    export_log(memory_world.storage, tools.ORIGIN, directory)
    return memory_world, log, directory


def test_layout_is_that_of_the_golden_log(exported):
    _, _, directory = exported
    assert files(directory) == files(GOLDEN / "log")
    assert files(directory) == paths_of(SIZE)


def test_whole_export_is_reported_with_its_counts(exported, tmp_path):
    world, _, directory = exported
    report = verify_export(directory, world.policy)
    assert report.is_whole
    assert (report.origin, report.size, report.entries) == (world.signer.name, SIZE, SIZE)
    assert (report.bundles, report.tiles, report.pruned) == (3, 4, 0)
    assert set(report.cosigned) == set(world.witnesses)
    packed = tmp_path / "export.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in files(directory):
            archive.write(directory / name, name)
    assert verify_export(packed, world.policy) == report


def test_log_of_another_maker_holds_but_for_its_entries():
    policy = Policy.decode((GOLDEN / "policy.txt").read_bytes())
    report = verify_export(GOLDEN / "log", policy)
    # Its checkpoint and cosignatures hold; its entries are not of this log's form.
    assert report.size == SIZE
    assert len(report.cosigned) >= 2
    assert report.fault.startswith("entry 0: ")
    pruned = verify_export(GOLDEN / "log", policy, minimum=512)
    assert (pruned.pruned, pruned.tiles) == (512, 2)
    assert pruned.fault.startswith("entry 512: ")


def test_unpublished_log_is_not_exported(memory_world, tools, tmp_path):
    memory_world.open().append(tools.make_entry(0))
    assert export_log(memory_world.storage, tools.ORIGIN, tmp_path / "export") is None
    assert not (tmp_path / "export").exists()
    report = verify_export(tmp_path / "export", memory_world.policy)
    assert not report.is_whole


def test_export_grows_in_place(exported, tools):
    world, log, directory = exported
    old = (directory / "tile/0/000").stat().st_mtime_ns
    for size in (601, 767, 768, 1025):
        for number in range(world.storage.edge(tools.ORIGIN).size, size):
            log.append(tools.make_entry(number))
        log.checkpoint()
        assert export_log(world.storage, tools.ORIGIN, directory).size == size
        assert verify_export(directory, world.policy).is_whole
        assert paths_of(size) <= files(directory)
        export_log(world.storage, tools.ORIGIN, directory)
    assert (directory / "tile/0/000").stat().st_mtime_ns == old
    # Partial tiles go once the full tile is there; those of the last ones stay.
    left = {name for name in files(directory) if ".p/" in name}
    assert left == {
        "tile/0/004.p/1",
        "tile/1/000.p/2",
        "tile/1/000.p/3",
        "tile/1/000.p/4",
        "tile/entries/004.p/1",
    }


def test_export_that_was_cut_short_is_finished(exported, tools, tmp_path):
    world, log, directory = exported
    old = (directory / "checkpoint").read_bytes()
    for number in range(SIZE, 800):
        log.append(tools.make_entry(number))
    log.checkpoint()
    export_log(world.storage, tools.ORIGIN, directory)
    (directory / "checkpoint").write_bytes(old)
    (directory / "tile/0/002").write_bytes(b"half")
    (directory / "tile/entries/002").unlink()
    export_log(world.storage, tools.ORIGIN, directory)
    assert verify_export(directory, world.policy).is_whole


def test_export_into_another_history_is_refused(exported, tools, tmp_path):
    world, _, directory = exported
    other = tools.World(MemoryStorage(), tmp_path / "other")
    log = other.open(second=FileCheckpoints(tmp_path / "other" / "second"))
    for number in range(SIZE + 1):
        log.append(tools.make_entry(number + 1))
    log.checkpoint()
    before = (directory / "checkpoint").read_bytes()
    with pytest.raises(LogCorruptError, match="another history"):
        export_log(other.storage, tools.ORIGIN, directory)
    export_log(other.storage, tools.ORIGIN, tmp_path / "longer")
    with pytest.raises(LogCorruptError, match="601"):
        export_log(world.storage, tools.ORIGIN, tmp_path / "longer")
    (directory / "checkpoint").write_bytes(b"nothing")
    with pytest.raises(LogCorruptError, match="read"):
        export_log(world.storage, tools.ORIGIN, directory)
    (directory / "checkpoint").write_bytes(before)
    assert verify_export(directory, world.policy).is_whole


def test_pruned_entries_are_left_out_and_the_rest_verifies(exported, tools, tmp_path):
    world, log, _ = exported
    proof = log.prove(3)
    world.storage.raise_minimum(tools.ORIGIN, 300)
    directory = tmp_path / "pruned"
    export_log(world.storage, tools.ORIGIN, directory)
    assert files(directory) == paths_of(SIZE) - {"tile/entries/000"}
    assert not verify_export(directory, world.policy).is_whole
    report = verify_export(directory, world.policy, minimum=300)
    assert report.is_whole
    assert (report.pruned, report.entries) == (256, 344)
    assert log.prove(3) == proof
    world.open()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def resigned(world, directory, entries):
    """Write an export as the log's owner would who changes entries and signs again."""
    for bundle in bundles_of(len(entries)):
        start = bundle.index * 256
        content = encode_bundle(entries[start : start + bundle.width])
        (directory / bundle.path).write_bytes(content)
    root = root_of(map(hash_leaf, entries))
    checkpoint = Checkpoint(world.signer.name, len(entries), root)
    line = sign_checkpoint(checkpoint, world.signer, world.clock.now())
    (directory / "checkpoint").write_bytes(Note(checkpoint.format(), (line,)).encode())


def read_entries(directory):
    bundles = bundles_of(SIZE)
    return [e for b in bundles for e in decode_bundle((directory / b.path).read_bytes(), b.width)]


DAMAGES = {
    "flipped bit in a full tile": ("tile/0/001", flip, "tile/0/001"),
    "flipped bit in a partial tile": ("tile/0/002.p/88", flip, "tile/0/002.p/88"),
    "flipped bit in an upper tile": ("tile/1/000.p/2", flip, "tile/1/000.p/2"),
    "flipped bit in an entry": ("tile/entries/001", flip, ""),
    "truncated tile": ("tile/0/001", lambda p: p.write_bytes(p.read_bytes()[:-1]), "tile/0/001"),
    "longer tile": ("tile/0/001", lambda p: p.write_bytes(p.read_bytes() + b"x"), "tile/0/001"),
    "truncated bundle": (
        "tile/entries/001",
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        "tile/entries/001",
    ),
    "missing tile": ("tile/0/000", Path.unlink, "tile/0/000: missing"),
    "missing bundle": ("tile/entries/000", Path.unlink, "tile/entries/000: missing"),
    "missing checkpoint": ("checkpoint", Path.unlink, "checkpoint: missing"),
    "damaged checkpoint": ("checkpoint", flip, "checkpoint: "),
    "empty checkpoint": ("checkpoint", lambda p: p.write_bytes(b""), "checkpoint: "),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told(exported, name):
    world, _, directory = exported
    place, damage, fault = DAMAGES[name]
    damage(directory / place)
    report = verify_export(directory, world.policy)
    assert not report.is_whole
    assert report.fault.startswith(fault)
    # The log itself, exported anew, is whole.
    shutil.rmtree(directory)
    export_log(world.storage, world.signer.name, directory)
    assert verify_export(directory, world.policy).is_whole


def test_altered_entry_is_told_whoever_signs(exported):
    world, _, directory = exported
    entries = read_entries(directory)
    altered = replace(Entry.decode(entries[300]), organisation="police").encode()
    changed = [*entries[:300], altered, *entries[301:]]
    (directory / "tile/entries/001").write_bytes(encode_bundle(changed[256:512]))
    assert verify_export(directory, world.policy).fault.startswith("tile/0/001")
    # The owner's own signature is not enough: the witnesses saw another history.
    resigned(world, directory, changed)
    assert "no quorum" in verify_export(directory, world.policy).fault
    assert verify_export(directory, world.alone).fault.startswith("tile/0/001")


def test_forked_history_is_told_by_the_witnesses(exported):
    world, _, directory = exported
    cosigned = Note.decode((directory / "checkpoint").read_bytes())
    resigned(world, directory, read_entries(directory)[:-1])
    ours = Note.decode((directory / "checkpoint").read_bytes())
    # Their lines are of another checkpoint, so with them nothing holds at all.
    (directory / "checkpoint").write_bytes(ours.with_signatures(cosigned.signatures).encode())
    report = verify_export(directory, world.policy)
    assert report.fault.startswith("checkpoint: ")


def test_signed_root_of_other_entries_is_told(exported):
    world, _, directory = exported
    checkpoint = Checkpoint(world.signer.name, SIZE, b"r" * 32)
    line = sign_checkpoint(checkpoint, world.signer, world.clock.now())
    (directory / "checkpoint").write_bytes(Note(checkpoint.format(), (line,)).encode())
    report = verify_export(directory, world.alone)
    assert report.fault.startswith("checkpoint: its root")
    assert report.entries == SIZE


def test_wrong_key_is_told(exported):
    world, _, directory = exported
    stranger = Signer.from_seed(world.signer.name, KeyKind.ED25519, b"x" * 32)
    policy = replace(world.policy, logs=(replace(world.policy.logs[0], key=stranger.key),))
    assert "not signed by a log" in verify_export(directory, policy).fault


@pytest.mark.parametrize(("order", "fault"), [((1, 0), "entry 0"), ((0, 0), "entry 1")])
def test_moved_or_repeated_entry_is_told(exported, order, fault):
    world, _, directory = exported
    entries = read_entries(directory)
    changed = [*(entries[k] for k in order), *entries[2:]]
    resigned(world, directory, changed)
    assert verify_export(directory, world.alone).fault.startswith(fault)


def test_what_is_no_export_is_told(tmp_path, memory_world):
    (tmp_path / "text").write_text("no archive")
    for path in (tmp_path / "text", tmp_path / "missing", tmp_path):
        assert not verify_export(path, memory_world.policy).is_whole


def test_forms_accept_exactly_what_decodes(tools):
    forms = EntryForms()
    known = tools.make_entry(5)
    assert forms.read_sequence(known.encode()) == 0
    denied = replace(
        known, decision=Decision.DENY, outcome=Outcome.REFUSED, recipients=(), agreement=None
    )
    kinds = [known, denied, replace(known, verb=Verb.ERASE, document=b"d" * 32, policies=())]
    numbers = (0, 1, 9, 10, 10**15 - 1, 10**15, 2**53 - 1)
    for kind in kinds:
        for number in numbers:
            entry = replace(kind, sequence=number, time=number, count=number)
            assert forms.read_sequence(entry.encode()) == number


def test_forms_refuse_exactly_what_does_not_decode(tools):
    forms = EntryForms()
    data = tools.make_entry(5).encode()
    forms.read_sequence(data)
    replacements = [
        (b'"count":1', b'"count":01'),
        (b'"count":1', b'"count":-1'),
        (b'"count":1', b'"count":1.0'),
        (b'"count":1', b'"count":9007199254740992'),
        (b'"count":1', b'"count":true'),
        (b'"sequence":0', b'"sequence":00'),
        (b'"sequence":0', b'"sequence":null'),
        (b'"sequence":0,', b""),
        (b'"sequence":0,', b'"sequence":0,"sequence":0,'),
        (b'"version":1', b'"version":2'),
        (b'"verb":"consult"', b'"verb":"steal"'),
        (b'"actor":"61', b'"actor":"6A'),
        (b'"actor":"61', b'"actor":"'),
        (b'"commitment":"', b'"commitment":"00'),
        (b'"basis"', b'"asis"'),
        (b'"count":1', b'"count":1,"subject":"somebody"'),
        (b"}", b"} "),
        (b'"decision":"permit"', b'"decision":"deny"'),
    ]
    for old, new in replacements:
        changed = data.replace(old, new, 1)
        assert changed != data
        with pytest.raises(MalformedMessageError):
            Entry.decode(changed)
        with pytest.raises(MalformedMessageError):
            forms.read_sequence(changed)
    for at in range(len(data)):
        for changed in (data[:at], data[:at] + b'"' + data[at + 1 :], data[:at] + data[at + 1 :]):
            expected = outcome(Entry.decode, changed)
            assert outcome(forms.read_sequence, changed) == expected


def outcome(read, data):
    try:
        found = read(data)
    except MalformedMessageError:
        return None
    return found.sequence if isinstance(found, Entry) else found
