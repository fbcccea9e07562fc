"""Packs hold, and every breakage is told by us and by the independent program."""

import json
import random
import re
import shutil
import subprocess
import time
import zipfile
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import pytest

from compliance.configuration import ConfigError
from compliance.exports import pack as packing
from compliance.exports.check import check_export, read_note
from compliance.exports.filters import Filter
from compliance.exports.pack import write_pack
from compliance.exports.source import open_source
from compliance.log.tree import StoredTree
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint
from protocols.tlog.entry import Entry, Outcome, Verb
from protocols.tlog.merkle import hash_leaf, root_of
from protocols.tlog.note import KeyKind, Note, Signer
from protocols.tlog.policy import Policy
from protocols.tlog.tiles import bundles_of, decode_bundle, encode_bundle

ALL = Filter()
REFUSED = Filter(outcome=Outcome.REFUSED)


def check(path, policy, **options):
    with open_source(path) as source:
        return check_export(source, policy, **options)


def packed(world, export, name, wanted=ALL, documents=None):
    out = world.directory / name
    with open_source(export) as source:
        write_pack(source, out, policy=world.policy, wanted=wanted, documents=documents or {})
    return out


@pytest.fixture
def export(world, mixed):
    return world.publish(mixed)


@pytest.fixture
def whole(world, export):
    """A pack of the whole log, unpacked."""
    return world.unpack(packed(world, export, "whole.zip"), "whole")


@pytest.fixture
def selection(world, export):
    """A pack of the refused entries, unpacked."""
    return world.unpack(packed(world, export, "selection.zip", REFUSED), "selection")


def test_whole_pack_holds_for_us_and_for_the_independent_program(world, export, whole):
    for path in (export, world.directory / "whole.zip", whole):
        checked = check(path, world.policy)
        assert checked.is_whole, checked.fault
        assert (checked.report.entries, checked.report.size) == (600, 600)
        assert set(checked.report.cosigned) == set(world.witnesses)
    assert not checked.is_selection
    assert checked.files == sum(path.is_file() for path in whole.rglob("*")) - 1
    assert world.second_opinion("whole", export, world.policy_file) == ""
    assert world.second_opinion("whole", whole, whole / "policy.txt") == ""


def test_selection_holds_and_has_only_what_was_asked_for(world, selection):
    for path in (world.directory / "selection.zip", selection):
        checked = check(path, world.policy)
        assert checked.is_whole, checked.fault
        assert (checked.selected, checked.is_selection, checked.report.entries) == (60, True, 0)
        with open_source(path) as source:
            entries = list(source.entries())
        assert [entry.sequence for entry in entries] == list(range(3, 600, 10))
        assert all(entry.outcome is Outcome.REFUSED for entry in entries)
    assert not (selection / "tile/entries").exists()
    assert world.second_opinion("selection", selection, selection / "policy.txt") == ""


def test_selection_of_nothing_holds(world, export):
    out = packed(world, export, "none.zip", Filter(organisation="nobody"))
    checked = check(out, world.policy)
    assert checked.is_whole, checked.fault
    assert (checked.selected, checked.is_selection) == (0, True)


def test_same_log_and_filter_give_the_same_bytes(world, export):
    for wanted in (Filter(), REFUSED):
        first, second = (packed(world, export, name, wanted).read_bytes() for name in "ab")
        assert first == second
        (world.directory / "a").unlink()


def test_too_many_selected_entries_are_refused(world, export, monkeypatch):
    monkeypatch.setattr(packing, "MAX_SELECTED", 59)
    with pytest.raises(ConfigError, match="narrow"):
        packed(world, export, "many.zip", REFUSED)
    assert not list(world.directory.glob("*many*"))


def test_metadata_lists_every_file_or_its_directory(whole, selection):
    for pack in (whole, selection):
        value = json.loads((pack / "ro-crate-metadata.json").read_bytes())
        graph = {item["@id"]: item for item in value["@graph"]}
        assert value["@context"] == "https://w3id.org/ro/crate/1.1/context"
        about = graph["ro-crate-metadata.json"]
        assert about["conformsTo"]["@id"] == "https://w3id.org/ro/crate/1.1"
        root = graph[about["about"]["@id"]]
        assert root["@type"] == "Dataset"
        assert root["license"]["@id"] in graph
        assert root["datePublished"].startswith("2026-11-23")
        parts = {part["@id"] for part in root["hasPart"]}
        assert parts <= graph.keys()
        there = {f"{p.name}/" if p.is_dir() else p.name for p in pack.iterdir()}
        assert parts == there - {"ro-crate-metadata.json"}


def flip(path, at=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 4
    path.write_bytes(bytes(data))


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def altered(path, index=0):
    """Change who acted in one entry of a bundle, in its canonical form."""
    entries = decode_bundle(path.read_bytes(), 256)
    entries[index] = replace(Entry.decode(entries[index]), organisation="police").encode()
    path.write_bytes(encode_bundle(entries))


def swapped(path):
    entries = decode_bundle(path.read_bytes(), 256)
    path.write_bytes(encode_bundle([entries[1], entries[0], *entries[2:]]))


def in_line(number):
    """Flip a bit inside the base64 of one line of a checkpoint."""

    def damage(path):
        lines = path.read_text().split("\n")
        line = lines[number]
        place = len(line) - 12
        lines[number] = line[:place] + ("A" if line[place] != "A" else "B") + line[place + 1 :]
        path.write_text("\n".join(lines))

    return damage


def without_witnesses(path):
    """Keep the log's own signature alone."""
    text = path.read_text().split("\n")
    path.write_text("\n".join(text[:5]) + "\n")


# Name: (file, damage, how the fault begins).
WHOLE = {
    "altered entry": ("tile/entries/001", altered, "tile/0/001: not what the entries hash to, "
                      "first at entry 256"),
    "entries swapped": ("tile/entries/000", swapped, "entry 0: says that it is entry 1"),
    "flipped bit in an entry": ("tile/entries/001", flip, ""),
    "flipped bit in a tile": ("tile/0/001", flip, "tile/0/001"),
    "flipped bit in a partial tile": ("tile/0/002.p/88", flip, "tile/0/002.p/88"),
    "flipped bit in an upper tile": ("tile/1/000.p/2", flip, "tile/1/000.p/2"),
    "truncated tile": ("tile/0/001", cut, "tile/0/001: 8191 bytes"),
    "truncated bundle": ("tile/entries/001", cut, "tile/entries/001"),
    "missing bundle": ("tile/entries/000", lambda path: path.unlink(), "tile/entries/000: missing"),
    "flipped bit in the root": ("checkpoint", in_line(2), "checkpoint: "),
    "flipped bit in the log's signature": ("checkpoint", in_line(4), "checkpoint: "),
    "flipped bit in a cosignature": ("checkpoint", in_line(5), "checkpoint: "),
    "flipped bit in an ML-DSA cosignature": ("checkpoint", in_line(7), "checkpoint: "),
    "another size": ("checkpoint", lambda path: path.write_text(
        path.read_text().replace("\n600\n", "\n599\n")), "checkpoint: "),
    "no witnesses": ("checkpoint", without_witnesses, "checkpoint: cosigned by 0 of 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_breakage_of_a_whole_log_is_told_by_both(world, export, name):
    place, damage, fault = WHOLE[name]
    damage(export / place)
    checked = check(export, world.policy)
    assert not checked.is_whole
    assert checked.fault.startswith(fault)
    assert world.second_opinion("whole", export, world.policy_file)


def second_entry_as_first(path):
    shutil.copy(path.with_name("13.json"), path)


SELECTED = {
    "altered entry": ("entries/3.json", lambda path: path.write_bytes(
        path.read_bytes().replace(b'"insurer"', b'"telecom"')), "entry 3: is not the one"),
    "flipped bit in an entry": ("entries/3.json", flip, "entry 3: "),
    "entry under another number": ("entries/3.json", second_entry_as_first, "entry 3: says"),
    "flipped bit in a proof": ("proofs/3.tlog-proof", lambda path: flip(path, 60),
                               "proofs/3.tlog-proof: "),
    "another hash in a proof": ("proofs/3.tlog-proof", in_line(3),
                                "proofs/3.tlog-proof: inclusion"),
    "proof under another checkpoint": ("proofs/3.tlog-proof", in_line(-4),
                                       "proofs/3.tlog-proof: is under another"),
    "proof of another entry": ("proofs/3.tlog-proof", lambda path: shutil.copy(
        path.with_name("13.tlog-proof"), path), "proofs/3.tlog-proof: is of entry 13"),
    "missing proof": ("proofs/3.tlog-proof", lambda path: path.unlink(), "proofs/3.tlog-proof"),
    "flipped bit in a tile": ("tile/0/000", flip, ""),
    "truncated tile": ("tile/0/001", cut, "tile/0/001"),
    "flipped bit in the root": ("checkpoint", in_line(2), "checkpoint: "),
}  # fmt: skip


@pytest.mark.parametrize("name", SELECTED)
def test_breakage_of_a_selection_is_told_by_both(world, selection, name):
    place, damage, fault = SELECTED[name]
    damage(selection / place)
    checked = check(selection, world.policy)
    assert not checked.is_whole
    assert checked.fault.startswith(fault)
    assert world.second_opinion("selection", selection, world.policy_file)


# What only the pack knows: the independent program looks at the log alone.
BESIDE = {
    "another filter": ("selection.json", lambda path: path.write_bytes(
        path.read_bytes().replace(b"refused", b"failed")), "entry 3: is not one that"),
    "another count": ("selection.json", lambda path: path.write_bytes(
        path.read_bytes().replace(b'"entries":60', b'"entries":59')), "selection.json: entries"),
    "entry taken out": ("entries/3.json", lambda path: path.unlink(), "selection.json: entries"),
    "file added": ("notes.txt", lambda path: path.write_text("x"), "notes.txt: is not listed"),
    "file changed": ("README.md", flip, "README.md: is not the file that was packed"),
    "file taken out": ("README.md", lambda path: path.unlink(), "README.md: missing"),
    "key of a stranger": ("keys/log-{}.pem", flip, "keys/log-{}.pem: is not a key of"),
    "document that is none": ("agreements/x.json", lambda path: (
        path.parent.mkdir(), path.write_text("{}")), "agreements/x.json: is no document"),
    "damaged list of hashes": ("SHA256SUMS", lambda path: path.write_text("x\n"), "SHA256SUMS: "),
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_breakage_beside_the_log_is_told(world, selection, name):
    place, damage, fault = BESIDE[name]
    key_id = world.signer.key.key_id.hex()
    damage(selection / place.format(key_id))
    checked = check(selection, world.policy)
    assert not checked.is_whole
    assert checked.fault.startswith(fault.format(key_id)), checked.fault


def test_wrong_keys_are_told_by_both(world, export):
    stranger = Signer.from_seed(world.signer.name, KeyKind.ED25519, b"x" * 32)
    other = replace(world.policy, logs=(replace(world.policy.logs[0], key=stranger.key),))
    world.policy_file.write_bytes(other.encode())
    assert "not signed by a log" in check(export, other).fault
    assert "not signed" in world.second_opinion("whole", export, world.policy_file)
    foreign = {
        name: Signer.from_seed(item.name, item.kind, b"y" * 31 + name[:1].encode())
        for name, item in world.witnesses.items()
    }
    others = tuple(replace(item, key=foreign[item.name].key) for item in world.policy.witnesses)
    unknown = replace(world.policy, witnesses=others)
    world.policy_file.write_bytes(unknown.encode())
    assert "no quorum" in check(export, unknown).fault
    assert "no quorum" in world.second_opinion("whole", export, world.policy_file)


def test_rewritten_history_that_the_log_signs_again_lacks_its_witnesses(world, export):
    entries = [
        entry
        for bundle in bundles_of(600)
        for entry in decode_bundle((export / bundle.path).read_bytes(), bundle.width)
    ]
    entries[300] = replace(Entry.decode(entries[300]), organisation="police").encode()
    for bundle in bundles_of(600):
        content = encode_bundle(entries[bundle.index * 256 :][: bundle.width])
        (export / bundle.path).write_bytes(content)
    rewritten = Checkpoint(world.signer.name, 600, root_of(map(hash_leaf, entries)))
    own = sign_checkpoint(rewritten, world.signer, world.clock.now())
    (export / "checkpoint").write_bytes(Note(rewritten.format(), (own,)).encode())
    assert "no quorum" in check(export, world.policy).fault
    assert "no quorum" in world.second_opinion("whole", export, world.policy_file)


def test_fork_rollback_and_growth_against_an_older_pack(world, tools, mixed):
    opened = world.open()
    older = world.publish(mixed[:300], "older", opened)
    newer = world.publish(mixed[300:], "newer", opened)
    forked = world.publish([tools.make_entry(9_000 + at) for at in range(700)], "forked")
    small = packed(world, older, "older.zip", REFUSED)
    since = read_note(small)
    assert read_note(older / "checkpoint") == since == read_note(older)
    # Each holds in itself: only the older pack tells.
    for path in (older, newer, forked):
        assert check(path, world.policy).is_whole
    grown = check(newer, world.policy, since=since)
    assert grown.is_whole, grown.fault
    assert grown.since == 300
    assert world.second_opinion("since", newer, world.policy_file, older) == ""
    assert check(forked, world.policy, since=since).fault.startswith("fork: another history")
    assert "fork" in world.second_opinion("since", forked, world.policy_file, older)
    fault = check(older, world.policy, since=read_note(newer)).fault
    assert fault == "rollback: 300 entries, where 600 were signed before"
    assert "rollback" in world.second_opinion("since", older, world.policy_file, newer)
    # Two histories of one size.
    same = world.publish([tools.make_entry(5_000 + at) for at in range(300)], "same")
    assert check(same, world.policy, since=since).fault.startswith("fork")
    # An older checkpoint that nobody cosigned proves nothing.
    alone = Note(since.text, since.signatures[:1])
    assert check(newer, world.policy, since=alone).fault.startswith("since: the older")


def test_pack_of_another_log_is_no_older_one(world, tools, mixed):
    export = world.publish(mixed)
    other = Checkpoint("other.example/audit/2025", 0, sha256(b"").digest())
    signer = Signer.from_seed(other.origin, KeyKind.ED25519, b"o" * 32)
    line = sign_checkpoint(other, signer, world.clock.now())
    logs = (*world.policy.logs, replace(world.policy.logs[0], key=signer.key))
    both = Policy(logs, (), (), "none")
    note = Note(other.format(), (line,))
    assert "is of other.example" in check(export, both, since=note).fault


def test_consistency_proofs_hold_for_the_independent_program(world, tools):
    storage, log = world.open()
    entries = [tools.make_entry(number) for number in range(130)]
    world.publish(entries, opened=(storage, log))
    sizes = [1, 2, 3, 4, 7, 8, 64, 65, 100, 127, 128, 129, 130]
    cases = []
    for old, new in [*pairwise(sizes), (1, 130), (3, 130), (64, 130), (130, 130)]:
        tree = StoredTree(storage, tools.ORIGIN, new)
        proof = [item.hex() for item in tree.prove_consistency(old)]
        cases.append([old, new, tree.root(old).hex(), tree.root().hex(), proof])
    assert world.second_opinion("proofs", text=json.dumps(cases)) == ""
    for old, new, first, second, proof in cases:
        broken = [
            [old, new, second[::-1], second, proof],
            [old, new, first, second, [*proof, first]],
        ]
        for case in broken:
            assert "consistency" in world.second_opinion("proofs", text=json.dumps([case]))


def test_scitt_cose_agrees_on_roots_and_proofs(world, tools):
    merkle = pytest.importorskip(
        "scitt_cose.merkle", reason="not installed: pip install scitt-cose"
    )
    storage, log = world.open()
    entries = [tools.make_entry(number) for number in range(70)]
    world.publish(entries, opened=(storage, log))
    raw = [data.hex() for data in storage.entries(tools.ORIGIN, 0, 70)]
    for size in (1, 2, 3, 31, 64, 65, 70):
        tree = StoredTree(storage, tools.ORIGIN, size)
        root = tree.root().hex()
        assert merkle.merkle_root(raw[:size]) == root
        for index in {0, size // 2, size - 1}:
            proof = [item.hex() for item in tree.prove_inclusion(index)]
            assert merkle.root_from_inclusion_proof(raw[index], index, size, proof) == root
        for old in {1, size // 2 or 1, size}:
            proof = [item.hex() for item in tree.prove_consistency(old)]
            assert proof == merkle.consistency_proof(raw[:size], old, size)


def script_of(directory):
    return re.search(r"```sh\n(.*?)```", (directory / "README.md").read_text(), re.S).group(1)


@pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "openssl", "sha256sum", "basenc", "od"))),
    reason="needs a shell, coreutils and OpenSSL",
)
def test_commands_of_the_readme_check_a_pack_without_our_code(world, tools, export):
    few = Filter(verb=Verb.COMBINE, until=tools.NOW + 30)
    pack = world.unpack(packed(world, export, "few.zip", few), "few")

    def run():
        return subprocess.run(
            ["bash", "-c", script_of(pack)], cwd=pack, capture_output=True, text=True, check=False
        )

    done = run()
    assert (done.returncode, done.stdout) == (0, "all holds\n"), done.stderr
    sums = (pack / "SHA256SUMS").read_text()
    for place, damage, told in (
        ("entries/7.json", lambda p: p.write_bytes(p.read_bytes().replace(b"police", b"nobody")),
         "entry 7: not in this log"),
        ("checkpoint", in_line(5), "signature of insurer.example/witness"),
        ("checkpoint", in_line(4), f"signature of {world.signer.name}"),
    ):  # fmt: skip
        path = pack / place
        before = path.read_bytes()
        damage(path)
        assert run().stdout.endswith("does not hold: SHA256SUMS\n")
        fresh = "".join(
            f"{sha256((pack / line[66:]).read_bytes()).hexdigest()}  {line[66:]}\n"
            for line in sums.splitlines()
        )
        (pack / "SHA256SUMS").write_text(fresh)
        done = run()
        assert done.returncode == 1
        assert f"does not hold: {told}" in done.stdout
        path.write_bytes(before)
        (pack / "SHA256SUMS").write_text(sums)
    assert run().returncode == 0


def test_two_files_of_one_name_are_refused(world, export):
    out = packed(world, export, "double.zip")
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("checkpoint", b"another")
    assert check(out, world.policy).fault == "export: two files have the same name"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..", "a\\b", "c:x"])
def test_paths_that_lead_out_of_a_pack_are_refused(world, export, name):
    out = packed(world, export, "outside.zip")
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(name, b"x")
    assert check(out, world.policy).fault == "export: the path of a file leads out of it"


def test_damaged_bytes_of_a_zip_file_end_in_a_report(world, export):
    data = packed(world, export, "whole.zip", REFUSED).read_bytes()
    source, out = random.Random(5), world.directory / "damaged.zip"
    directory = data.index(b"PK\x01\x02")
    for number in range(120):
        damaged = bytearray(data)
        # Half of them hit the directory, on which everything else depends.
        at = source.randrange(directory if number % 2 else 0, len(data))
        damaged[at] ^= 1 << source.randrange(8)
        out.write_bytes(bytes(damaged))
        try:
            check(out, world.policy)
        except ConfigError:
            continue


@pytest.mark.slow
def test_seventy_thousand_entries_cost_little_beside_reading_and_hashing_them(world, tools):
    directory = world.publish([tools.make_entry(number) for number in range(70_000)])
    began = time.process_time()
    for path in sorted(directory.rglob("*")):
        for _ in range(10 if path.is_file() else 0):
            sha256(path.read_bytes())
    bare_s = time.process_time() - began
    began = time.process_time()
    assert check(directory, world.policy).report.entries == 70_000
    # Measured: about eight times; what grew with the square would be hundreds of times.
    assert time.process_time() - began <= 40 * bare_s


def test_truncated_and_encrypted_zip_files_are_told(world, export):
    out = packed(world, export, "cut.zip")
    data = out.read_bytes()
    out.write_bytes(data[: len(data) // 2])
    with pytest.raises(ConfigError, match="neither"), open_source(out):
        pass
    # The flag of encryption, in the central directory and before the file itself.
    marked = bytearray(data)
    at = marked.rindex(b"checkpoint", 0, marked.rindex(b"PK\x01\x02"))
    marked[at - 38] |= 1
    out.write_bytes(bytes(marked))
    assert not check(out, world.policy).is_whole


def test_pack_of_a_pruned_log_holds_down_to_its_minimum(world, export):
    (export / "tile/entries/000").unlink()
    with open_source(export) as source:
        assert check_export(source, world.policy).fault == "tile/entries/000: missing"
    out = packed(world, export, "pruned.zip")
    assert check(out, world.policy).fault == "tile/entries/000: missing"
    checked = check(out, world.policy, minimum=256)
    assert checked.is_whole, checked.fault
    assert (checked.report.pruned, checked.report.entries) == (256, 344)
    assert check(packed(world, export, "few.zip", REFUSED), world.policy).selected == 60 - 26
