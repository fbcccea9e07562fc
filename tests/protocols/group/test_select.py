"""A backend that computes wrongly, or a library that others can replace, is never used."""

import base64
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.errors import UnsupportedParameterError
from protocols.group import library
from protocols.group.select import choose_backend, load_group
from protocols.group.selftest import verify_backend
from protocols.group.sodium import load_sodium

# Each pair wires one operation of the real library to another one.
MISWIRED = [
    ("_add", "_subtract"),
    ("_subtract", "_add"),
    ("_scalar_add", "_scalar_subtract"),
    ("_scalar_subtract", "_scalar_add"),
    ("_scalar_multiply", "_scalar_add"),
    ("_multiply", "_scalar_multiply"),
    ("_multiply_base", "_scalar_invert"),
    ("_from_hash", "_reduce"),
    ("_reduce", "_from_hash"),
]


def miswired(operation: str, other: str):
    def load(workers: int):
        group = load_sodium(workers)
        setattr(group, operation, getattr(group, other))
        return group

    return load


def careless(workers: int):
    """Checks no encoding."""
    group = load_sodium(workers)
    group._is_valid = group._is_valid._replace(free=lambda _: 1, held=lambda _: 1)
    return group


@pytest.mark.parametrize("pair", MISWIRED, ids="-".join)
def test_wrong_backend_is_passed_over(pair):
    chosen = choose_backend([miswired(*pair), load_sodium], 1)
    verify_backend(chosen)
    with pytest.raises(UnsupportedParameterError, match="self-test fails at"):
        choose_backend([miswired(*pair)], 1)


def test_careless_backend_is_refused():
    with pytest.raises(UnsupportedParameterError, match="check_elements of an element that is"):
        choose_backend([careless], 1)


def test_chosen_backend_names_itself():
    assert load_group().name.startswith("libsodium 1.")
    assert load_group() is load_group()


def test_library_comes_from_the_installed_wheel():
    path = library._find_file()
    assert "pyzmq" in path.parent.name
    library._refuse_writable_path(path)


@pytest.mark.parametrize("open_part", ["file", "folder"])
def test_library_open_to_everyone_is_refused(tmp_path, open_part):
    file = tmp_path / "folder" / "libsodium.so"
    file.parent.mkdir(mode=0o755)
    file.touch(mode=0o644)
    library._refuse_writable_path(file)
    part = file if open_part == "file" else file.parent
    # The sticky bit protects what lies deeper, never the library's own folder.
    part.chmod(0o1777)
    with pytest.raises(UnsupportedParameterError, match="writable by everyone"):
        library._refuse_writable_path(file)


def test_open_folder_above_is_refused_unless_sticky(tmp_path):
    above = tmp_path / "above"
    file = above / "folder" / "libsodium.so"
    file.parent.mkdir(parents=True, mode=0o755)
    file.touch(mode=0o644)
    above.chmod(0o1777)
    library._refuse_writable_path(file)
    above.chmod(0o777)
    with pytest.raises(UnsupportedParameterError, match="writable by everyone"):
        library._refuse_writable_path(file)


def test_altered_library_is_refused():
    with pytest.raises(UnsupportedParameterError, match="differs from its wheel's record"):
        library._require_digest(
            b"another library", "sha256", "GmQi8pyckOORB1hSfjZtdit5LjBVer54cPVZSz48YuU"
        )


@pytest.mark.parametrize("version", ["1.0.18", "1.0.19", "0.9.99"])
def test_old_library_is_refused(version):
    with pytest.raises(UnsupportedParameterError, match=f"version {version}, need 1.0.20"):
        library._require_version(version)


@pytest.fixture
def copied_wheel(tmp_path, monkeypatch):
    """A copy of the library in a wheel of its own that is found before the real one."""
    original = library._find_file()
    site = tmp_path / "site"
    (site / "pyzmq.libs").mkdir(parents=True, mode=0o755)
    (site / "pyzmq-1.dist-info").mkdir()
    (site / "pyzmq-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: pyzmq\nVersion: 1\n"
    )
    copy = site / "pyzmq.libs" / original.name
    copy.write_bytes(original.read_bytes())
    digest = (
        base64.urlsafe_b64encode(hashlib.sha256(copy.read_bytes()).digest()).decode().rstrip("=")
    )
    record = f"pyzmq.libs/{original.name},sha256={digest},{copy.stat().st_size}\n"
    (site / "pyzmq-1.dist-info" / "RECORD").write_text(record)
    monkeypatch.syspath_prepend(site)
    return copy


def test_copied_wheel_loads(copied_wheel):
    assert library._find_file() == copied_wheel
    library.load_sodium_library()


def test_altered_file_of_a_wheel_is_not_loaded(copied_wheel):
    with copied_wheel.open("ab") as file:
        file.write(b"x")
    with pytest.raises(UnsupportedParameterError, match="differs from its wheel's record"):
        library.load_sodium_library()


def test_wheel_in_an_open_folder_is_not_loaded(copied_wheel):
    copied_wheel.parent.chmod(0o777)
    with pytest.raises(UnsupportedParameterError, match="writable by everyone"):
        library.load_sodium_library()


def test_missing_file_of_a_wheel_is_named(copied_wheel):
    copied_wheel.unlink()
    with pytest.raises(UnsupportedParameterError, match="file is missing"):
        library.load_sodium_library()


def test_wheel_without_the_library_is_named(copied_wheel):
    (copied_wheel.parents[1] / "pyzmq-1.dist-info" / "RECORD").write_text("zmq/__init__.py,,\n")
    with pytest.raises(UnsupportedParameterError, match="declares 0 libraries"):
        library.load_sodium_library()


def test_wheel_of_an_old_library_is_not_loaded(copied_wheel, monkeypatch):
    monkeypatch.setattr(library, "OLDEST_VERSION", (1, 1, 0))
    with pytest.raises(UnsupportedParameterError, match=r"need 1\.1\.0 or later"):
        library.load_sodium_library()


def test_missing_wheel_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(library, "DISTRIBUTION", "no-such-wheel")
    with pytest.raises(UnsupportedParameterError, match="no-such-wheel is not installed"):
        library.load_sodium_library()


def test_loading_leaves_no_file_behind(tmp_path):
    code = (
        "from protocols.group.select import load_group; import sys; "
        "load_group().multiply_base(bytes([1]) + bytes(31)); assert 'zmq' not in sys.modules"
    )
    root = Path(__file__).parents[3]
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(root),
    }
    subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
