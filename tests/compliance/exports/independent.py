"""A second opinion: checks exports from the specifications alone, with hashlib and cryptography.

    independent.py whole DIR POLICY            a log, or a pack of a whole one
    independent.py selection DIR POLICY        a pack of selected entries
    independent.py since DIR POLICY OLDER      that DIR extends the checkpoint in OLDER
    independent.py proofs < JSON               consistency proofs

Written without looking at the code that it checks, as a program of its own that shares no
module with it; slow and simple on purpose. Ends with 0, or with 1 and what does not hold.

Source:
    C2SP tlog-tiles, tlog-checkpoint, signed-note, tlog-cosignature, tlog-policy, tlog-proof;
    RFC 6962 section 2.1; RFC 9162 sections 2.1.3.2 and 2.1.4.2.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey


def leaf(data):
    return hashlib.sha256(b"\x00" + data).digest()


def inner(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(count):
    """The largest power of two smaller than `count`."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def tree(leaves):
    """MTH of RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = split(len(leaves))
    return inner(tree(leaves[:middle]), tree(leaves[middle:]))


def root_by_path(found, index, size, path):
    """Undo PATH(m, D[n]) of RFC 6962, section 2.1.1: the last hash is the topmost sibling."""
    if size == 1:
        assert not path, "proof: too long"
        return found
    assert path, "proof: too short"
    middle = split(size)
    if index < middle:
        return inner(root_by_path(found, index, middle, path[:-1]), path[-1])
    return inner(path[-1], root_by_path(found, index - middle, size - middle, path[:-1]))


def check_consistency(first, second, old, new, path):
    """RFC 9162, section 2.1.4.2, step by step."""
    if first == second:
        assert (path, old) == ([], new), "consistency: equal sizes"
        return
    assert path, "consistency: empty"
    if first & (first - 1) == 0:
        path = [old, *path]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        assert sn != 0, "consistency: too long"
        if fn & 1 or fn == sn:
            fr, sr = inner(c, fr), inner(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = inner(sr, c)
        fn, sn = fn >> 1, sn >> 1
    assert (fr, sr, sn) == (old, new, 0), "consistency: other roots"


def vkey(text):
    name, key_id, encoded = text.split("+", 2)
    data = base64.b64decode(encoded, validate=True)
    assert hashlib.sha256(name.encode() + b"\n" + data).hexdigest()[:8] == key_id, "key id"
    return name, bytes.fromhex(key_id), data[0], data[1:]


def read_policy(path):
    logs, witnesses, groups, quorum = [], {}, [], None
    for line in Path(path).read_text().splitlines():
        match line.split():
            case ["log", key, *_]:
                logs.append(vkey(key))
            case ["witness", name, key, *_]:
                witnesses[name] = vkey(key)
            case ["group", name, count, *members]:
                threshold = {"all": len(members), "any": 1}.get(count) or int(count)
                groups.append((name, threshold, members))
            case ["quorum", name]:
                quorum = name
    return logs, witnesses, groups, quorum


def holds(key, note_text, lines):
    """Whether a key signed; a line of it that does not verify spoils everything."""
    name, key_id, kind, public = key
    signed = False
    for line in lines:
        dash, who, encoded = line.split(" ")
        assert dash == "—", "note: a signature line"
        data = base64.b64decode(encoded, validate=True)
        if (who, data[:4]) != (name, key_id):
            continue
        body, origin_size_root = data[4:], note_text.split("\n")
        if kind == 1:
            Ed25519PublicKey.from_public_bytes(public).verify(body, note_text.encode())
        elif kind == 4:
            now = int.from_bytes(body[:8], "big")
            message = f"cosignature/v1\ntime {now}\n{note_text}".encode()
            Ed25519PublicKey.from_public_bytes(public).verify(body[8:], message)
        elif kind == 6:
            origin, size, root = origin_size_root[:3]
            message = b"subtree/v1\n\x00" + bytes([len(name.encode())]) + name.encode()
            message += body[:8] + bytes([len(origin.encode())]) + origin.encode()
            message += bytes(8) + int(size).to_bytes(8, "big") + base64.b64decode(root)
            MLDSA44PublicKey.from_public_bytes(public).verify(body[8:], message)
        signed = True
    return signed


def checkpoint(data, policy):
    """Return origin, size and root of a checkpoint that log and quorum signed."""
    logs, witnesses, groups, quorum = policy
    text, _, lines = data.decode().rpartition("\n\n")
    text += "\n"
    assert lines.endswith("\n"), "note: does not end in a newline"
    lines = lines[:-1].split("\n")
    origin, size, root = text.split("\n")[:3]
    assert any(holds(key, text, lines) for key in logs if key[0] == origin), "not signed by the log"
    there = {name for name, key in witnesses.items() if holds(key, text, lines)}
    for name, threshold, members in groups:
        if len(there.intersection(members)) >= threshold:
            there.add(name)
    assert quorum == "none" or quorum in there, "no quorum"
    return origin, int(size), base64.b64decode(root, validate=True)


def number_path(index):
    text = f"{index:03}"
    text = text.rjust(-(-len(text) // 3) * 3, "0")
    parts = [text[at : at + 3] for at in range(0, len(text), 3)]
    return "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])


def places(count):
    """Paths below a level and their widths."""
    for index in range(-(-count // 256)):
        width = min(256, count - index * 256)
        yield number_path(index) + ("" if width == 256 else f".p/{width}"), width


def bundle_entries(directory, size):
    found = []
    for path, width in places(size):
        data, at = (directory / "tile/entries" / path).read_bytes(), 0
        for _ in range(width):
            length = int.from_bytes(data[at : at + 2], "big")
            assert at + 2 + length <= len(data), f"tile/entries/{path}: truncated"
            found.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        assert at == len(data), f"tile/entries/{path}: longer"
    return found


def check_tiles(directory, leaves):
    level = 0
    hashes = leaves
    while hashes:
        for number, (path, width) in enumerate(places(len(hashes))):
            data = (directory / "tile" / str(level) / path).read_bytes()
            expected = b"".join(hashes[number * 256 : number * 256 + width])
            assert data == expected, f"tile/{level}/{path}: another content"
        full = len(hashes) // 256
        hashes = [tree(hashes[at * 256 : at * 256 + 256]) for at in range(full)]
        level += 1


def tile_leaves(directory, size):
    data = b"".join((directory / "tile/0" / path).read_bytes() for path, _ in places(size))
    assert len(data) == 32 * size, "tile/0: another length"
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def check_whole(directory, policy):
    _, size, root = checkpoint((directory / "checkpoint").read_bytes(), policy)
    entries = bundle_entries(directory, size)
    for index, entry in enumerate(entries):
        assert json.loads(entry)["sequence"] == index, f"entry {index}: its number"
    leaves = [leaf(entry) for entry in entries]
    check_tiles(directory, leaves)
    assert tree(leaves) == root, "root"


def check_selection(directory, policy):
    seen = checkpoint((directory / "checkpoint").read_bytes(), policy)
    _, size, root = seen
    leaves = tile_leaves(directory, size)
    check_tiles(directory, leaves)
    assert tree(leaves) == root, "root"
    names = {path.stem for path in (directory / "entries").glob("*.json")}
    assert names == {path.stem for path in (directory / "proofs").glob("*.tlog-proof")}, "pairs"
    for name in sorted(names):
        entry = (directory / "entries" / f"{name}.json").read_bytes()
        data = (directory / "proofs" / f"{name}.tlog-proof").read_bytes()
        head, _, note = data.partition(b"\n\n")
        header, index, *hashes = head.decode().split("\n")
        assert (header, index) == ("c2sp.org/tlog-proof@v1", f"index {name}"), f"proof {name}"
        assert checkpoint(note, policy) == seen, f"proof {name}: another checkpoint"
        path = [base64.b64decode(item, validate=True) for item in hashes]
        assert json.loads(entry)["sequence"] == int(name), f"entry {name}: its number"
        assert leaves[int(name)] == leaf(entry), f"entry {name}: another"
        assert root_by_path(leaf(entry), int(name), size, path) == root, f"proof {name}: root"


def check_since(directory, policy, older):
    origin, size, _ = checkpoint((directory / "checkpoint").read_bytes(), policy)
    before, old_size, old_root = checkpoint((older / "checkpoint").read_bytes(), policy)
    assert before == origin, "another log"
    assert old_size <= size, "rollback"
    assert tree(tile_leaves(directory, size)[:old_size]) == old_root, "fork"


def check_proofs(cases):
    for first, second, old, new, path in cases:
        hashes = [bytes.fromhex(item) for item in path]
        check_consistency(first, second, bytes.fromhex(old), bytes.fromhex(new), hashes)


def main(command, *rest):
    if command == "proofs":
        check_proofs(json.load(sys.stdin))
        return
    directory, policy = Path(rest[0]), read_policy(rest[1])
    match command:
        case "whole":
            check_whole(directory, policy)
        case "selection":
            check_selection(directory, policy)
        case "since":
            check_since(directory, policy, Path(rest[2]))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what does not hold
        sys.exit(f"{type(error).__name__}: {error}")
    assert not {"protocols", "compliance", "clients"} & sys.modules.keys()
