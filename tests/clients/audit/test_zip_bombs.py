"""Archives that were made to fill a machine: each command refuses them, small and soon."""

import os
import subprocess
import sys
import zipfile
from hashlib import sha256

import pytest

from compliance.exports import source
from compliance.exports.source import MAX_RATIO, open_source

MIB = 1 << 20
COMMANDS = ("verify", "search", "integrity", "alarms", "statement", "replay")


def bomb(path, names, mebibytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as file:
                for _ in range(mebibytes):
                    file.write(bytes(MIB))
    return path


# The kernel's count for a child begins with what its parent had: the child tells its own.
TELLING = """
import atexit, runpy, sys
from pathlib import Path

peak = Path(sys.argv.pop())


def tell():
    peak.write_text(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


atexit.register(tell)
runpy.run_module("clients.cli", run_name="__main__")
"""


def run(*arguments, folder):
    """Run a command; returns its code, what it said, and the most memory it had in MiB."""
    peak = folder.with_name(f"{folder.name}-peak")
    done = subprocess.run(
        [sys.executable, "-c", TELLING, "audit", *map(str, arguments), str(peak)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, check=False,
        env=os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))},
    )  # fmt: skip
    return done.returncode, done.stdout, int(peak.read_text()) / 1024


@pytest.mark.parametrize("command", COMMANDS)
def test_bomb_is_refused_before_it_is_unpacked(tmp_path, command):
    names = ("checkpoint", "policy.txt", "SHA256SUMS", "ro-crate-metadata.json")
    path = bomb(tmp_path / "bomb.zip", names, 100)
    before = sha256(path.read_bytes()).digest()
    code, text, memory = run(command, path, folder=tmp_path)
    assert code != 0
    assert "Traceback" not in text
    assert "times its size" in text or "not found" in text or "node.json" in text, text
    assert memory < 250
    assert sha256(path.read_bytes()).digest() == before
    assert list(tmp_path.iterdir()) == [path]


def test_many_small_bombs_are_one_large_one(tmp_path):
    path = bomb(tmp_path / "bomb.zip", [f"tile/entries/{n:03}" for n in range(80)], 1)
    with pytest.raises(Exception, match=f"times its size, at most {MAX_RATIO}"), open_source(path):
        pass


def test_more_files_than_any_pack_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MAX_FILES", 10)
    path = bomb(tmp_path / "many.zip", [f"{n}.json" for n in range(11)], 0)
    with pytest.raises(Exception, match="11 files, at most 10"), open_source(path):
        pass


def test_size_that_lies_is_no_more_than_it_says(tmp_path):
    """The directory of the archive says 10 bytes of a file that unpacks to a hundred MiB."""
    path = bomb(tmp_path / "liar.zip", ["checkpoint"], 100)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    code, text, memory = run("search", path, folder=tmp_path)
    assert ("Traceback" in text, memory < 250) == (False, True)
    assert code in {0, 1, 4}


def test_pack_that_is_honest_is_read(tmp_path):
    path = bomb(tmp_path / "small.zip", ["checkpoint"], 1)
    with open_source(path) as found:
        assert found.names == ("checkpoint",)
