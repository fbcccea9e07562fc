"""A publisher that is killed at any of its steps leaves the former table or the new one."""

import subprocess
import sys
from pathlib import Path

import pytest

from protocols.lookup.table import check_digests, check_table
from server.tables.folder import Part
from server.tables.store import Tables

SCRIPT = Path(__file__).with_name("publish_and_die.py")
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("tables", ["files"], indirect=True)
def test_kill_at_any_step_leaves_a_whole_table(tmp_path, tables, manifest, police):
    tables.publish(manifest, "police", police.step(police.records(600)).encode())
    delta = police.delta(police.records(40), [police.data[:16]])
    (tmp_path / "delta").write_bytes(delta.encode())
    (tmp_path / "manifest.json").write_bytes(manifest.encode())
    (tmp_path / "identity").write_bytes(police.identity.public_key().public_bytes_raw())
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    children = int(done.stdout)
    assert children > 15
    known = {"police": police.identity.public_key()}
    seen = set()
    for number in range(1, children + 1):
        found = Tables(tmp_path / f"tables-{number}", hub="lianfang", identities=known.get)
        snapshot = found.current(5, "police")
        seen.add(snapshot.version)
        assert snapshot.signed in {police.signed, delta.after}
        check_table(snapshot.signed.header, snapshot.path(Part.TABLE).read_bytes())
        check_digests(snapshot.signed.header, snapshot.path(Part.DIGESTS).read_bytes())
        # Whatever was left behind, the next attempt goes through.
        found.publish(manifest, "police", delta.encode())
        assert found.current(5, "police").signed == delta.after
    assert seen == {1, 2}
