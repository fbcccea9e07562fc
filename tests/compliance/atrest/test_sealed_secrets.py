"""Secrets under a keyring: what opens them, what does not, and what lies on the disk."""

import base64
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.atrest.envelope import MAGIC, Cost, Kind, Material
from compliance.atrest.errors import SealedKeysError
from compliance.atrest.handover import Handover
from compliance.atrest.keyring import KEYRING, forget_keys, load_keyring
from compliance.atrest.ring import Ring
from compliance.atrest.sealing import change_opening, seal, secrets_in, standing, unseal
from compliance.atrest.secrets import (
    create_secret,
    move_secret,
    read_secret,
    secret_file,
    write_secret,
)
from compliance.atrest.unlocking import CREDENTIALS, KEY_CREDENTIAL, UNLOCK, material_of

CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
PASSPHRASE = "right horse battery staple"
SECRETS = {
    "keys/tls.key": os.urandom(200),
    "keys/cache.key": os.urandom(32),
    "log/parts.key": os.urandom(96),
    "holder/shares/1.0.share": os.urandom(80),
    "runs/spring/checkpoint-3.bin": os.urandom(500),
    "flower/control.token": os.urandom(32).hex().encode(),
}


@pytest.fixture(autouse=True)
def nothing_held(monkeypatch):
    monkeypatch.delenv(UNLOCK, raising=False)
    monkeypatch.delenv(CREDENTIALS, raising=False)
    forget_keys()
    yield
    forget_keys()


@pytest.fixture
def root(tmp_path):
    found = tmp_path / "node"
    for name, data in SECRETS.items():
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        write_secret(found / name, data)
    (found / "node.json").write_text("{}")
    return found


def by_passphrase(text=PASSPHRASE):
    return Material.of_passphrase(text)


def written(folder: Path, data: bytes) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.given"
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def read_all(root):
    return {name: read_secret(root / name) for name in SECRETS}


def clear_forms(secret: bytes):
    yield from (secret, secret.hex().encode(), base64.b64encode(secret))


def test_without_a_keyring_secrets_lie_in_clear(root):
    assert {name: (root / name).read_bytes() for name in SECRETS} == SECRETS
    assert not standing(root).is_whole


def test_sealed_secrets_open_and_lie_nowhere_in_clear(root):
    count = seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    assert count == len(SECRETS)
    assert standing(root).is_whole
    assert read_all(root) == SECRETS
    for path in root.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.name == "node.json"
            data = path.read_bytes()
            for secret in SECRETS.values():
                assert not any(form in data for form in clear_forms(secret)), path


def test_seal_overwrites_what_lay_in_clear(root):
    # A second open descriptor sees the bytes of the old file after its name is gone.
    with (root / "keys/cache.key").open("rb") as old:
        seal(root, by_passphrase(), os.urandom, cost=CHEAP)
        assert old.read() == bytes(32)


def test_locked_keys_name_the_cure(root):
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    forget_keys()
    with pytest.raises(SealedKeysError, match=UNLOCK):
        read_secret(root / "keys/tls.key")


@pytest.mark.parametrize("scheme", ["passphrase-file", "file"])
def test_wrong_opening_fails_in_one_way(root, tmp_path, monkeypatch, scheme):
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    forget_keys()
    wrong = written(tmp_path, b"another horse battery staple of 32 bytes and more")
    monkeypatch.setenv(UNLOCK, f"{scheme}:{wrong}")
    for name in SECRETS:
        with pytest.raises(SealedKeysError, match="does not open it"):
            read_secret(root / name)


def test_moved_altered_and_cut_files_do_not_open(root):
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    good = (root / "keys/tls.key").read_bytes()
    (root / "keys/identity.key").write_bytes(good)
    with pytest.raises(SealedKeysError, match=r"identity\.key"):
        read_secret(root / "keys/identity.key")
    for bad in (good[:-1], good + b"\x00", good[:-1] + bytes([good[-1] ^ 1]), good[:40], MAGIC):
        (root / "keys/tls.key").write_bytes(bad)
        with pytest.raises(SealedKeysError, match=r"tls\.key"):
            read_secret(root / "keys/tls.key")


def test_secrets_written_later_are_sealed(root):
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    write_secret(root / "keys/new.key", b"n" * 32)
    create_secret(root / "rights/subject.key", b"s" * 32)
    create_secret(root / "rights/subject.key", b"t" * 32)
    assert standing(root).is_whole
    assert read_secret(root / "keys/new.key") == b"n" * 32
    assert read_secret(root / "rights/subject.key") == b"s" * 32


def test_moved_secret_opens_under_its_new_name(root):
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    move_secret(root / "keys/cache.key", root / "keys/tls.key")
    assert read_secret(root / "keys/tls.key") == SECRETS["keys/cache.key"]
    assert not (root / "keys/cache.key").exists()


def test_library_gets_a_file_in_memory(root):
    path = root / "keys/tls.key"
    with secret_file(path) as clear:
        assert clear == path
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    with secret_file(path) as clear:
        assert not clear.is_relative_to(root)
        assert stat.S_IMODE(clear.stat().st_mode) == 0o600
        assert clear.read_bytes() == clear.read_bytes() == SECRETS["keys/tls.key"]
    assert not clear.exists()


def test_passphrase_changes_without_touching_a_secret(root, tmp_path, monkeypatch):
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    before = {path: path.read_bytes() for path in secrets_in(root)}
    key = written(tmp_path, os.urandom(32).hex().encode() + b"\n")
    found = change_opening(
        root, material_of(f"file:{key}", prompt=""), os.urandom, beside=True, cost=CHEAP
    )
    assert found.kinds == (Kind.PASSPHRASE, Kind.KEY)
    change_opening(
        root, by_passphrase("a wholly new passphrase"), os.urandom, beside=False, cost=CHEAP
    )
    assert {path: path.read_bytes() for path in secrets_in(root)} == before
    keyring = load_keyring(root)
    keyring.open_with(by_passphrase("a wholly new passphrase"))
    with pytest.raises(SealedKeysError):
        keyring.open_with(by_passphrase())
    forget_keys()
    monkeypatch.setenv(UNLOCK, f"file:{key}")
    assert read_all(root) == SECRETS


def test_unseal_leaves_it_as_it_was(root):
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    assert unseal(root) == len(SECRETS)
    assert not (root / KEYRING).exists()
    assert {name: (root / name).read_bytes() for name in SECRETS} == SECRETS


KILLED = """
import os, signal, sys
from pathlib import Path
from compliance.atrest.envelope import Cost, Material
from compliance.atrest.sealing import seal, unseal

root, act, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])


def progress(done, whole):
    if done == limit:
        os.kill(os.getpid(), signal.SIGKILL)


material = Material.of_passphrase(sys.argv[4])
if act == "seal":
    seal(root, material, os.urandom, cost=Cost(64, 1, 1), progress=progress)
else:
    unseal(root, progress=progress)
"""


@pytest.mark.parametrize("act", ["seal", "unseal"])
@pytest.mark.parametrize("limit", [1, 3, len(SECRETS)])
def test_killed_half_way_it_opens_and_is_finished(root, tmp_path, monkeypatch, act, limit):
    given = written(tmp_path, PASSPHRASE.encode())
    monkeypatch.setenv(UNLOCK, f"passphrase-file:{given}")
    if act == "unseal":
        seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), act, str(limit), PASSPHRASE], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert read_all(root) == SECRETS
    if act == "seal":
        assert seal(root, None, os.urandom) == len(SECRETS) - limit
        assert standing(root).is_whole
    else:
        unseal(root)
        assert len(standing(root).clear) == len(SECRETS)
    assert read_all(root) == SECRETS


def test_leftovers_of_cut_short_writes_are_sealed_away(root):
    left = root / f"keys/.cache.key.{os.urandom(8).hex()}"
    left.write_bytes(SECRETS["keys/cache.key"])
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    assert not left.exists()


def test_systemd_credential_opens(root, tmp_path, monkeypatch):
    folder = tmp_path / "credentials"
    folder.mkdir()
    key = folder / KEY_CREDENTIAL
    key.write_bytes(os.urandom(32))
    key.chmod(0o440)
    seal(root, material_of(f"file:{key}", prompt=""), os.urandom)
    forget_keys()
    monkeypatch.setenv(CREDENTIALS, str(folder))
    assert read_all(root) == SECRETS


def test_key_comes_through_a_descriptor(root):
    reading, writing = os.pipe()
    os.write(writing, b"k" * 48)
    os.close(writing)
    try:
        seal(root, material_of(f"fd:{reading}", prompt=""), os.urandom)
    finally:
        os.close(reading)
    assert load_keyring(root).ring.open(Material.of_key(b"k" * 48), "") is not None


@pytest.mark.parametrize(
    ("spec", "content", "mode"),
    [
        ("file", b"too short", 0o600),
        ("file", b"k" * 64, 0o604),
        ("passphrase-file", b"short", 0o600),
        ("passphrase-file", b"two lines of\npassphrases here", 0o600),
        ("passphrase-file", b"\xff" * 40, 0o600),
        ("file", None, 0o600),
    ],
)
def test_unusable_openings_are_refused(tmp_path, spec, content, mode):
    path = tmp_path / "given"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(SealedKeysError):
        material_of(f"{spec}:{path}", prompt="")


@pytest.mark.parametrize("spec", ["", "ask:x", "https://kms", "fd:-1", "env:NOT_SET_ANYWHERE"])
def test_unknown_openings_are_refused(spec):
    with pytest.raises(SealedKeysError, match=UNLOCK):
        material_of(spec, prompt="")


def test_started_programs_open_by_handover(root):
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    handover = Handover(root)
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-c"),
                "import sys; from pathlib import Path; "
                "from compliance.atrest.secrets import read_secret; "
                "sys.stdout.buffer.write(read_secret(Path(sys.argv[1])))",
                str(root / "keys/cache.key"),
            ],
            env=dict(handover.environment), cwd=Path(__file__).parents[3],
            capture_output=True, check=True,
        )  # fmt: skip
    finally:
        handover.close()
    assert done.stdout == SECRETS["keys/cache.key"]
    assert not Path(handover.environment[UNLOCK].removeprefix("held:")).exists()


def test_nothing_is_handed_over_where_nothing_is_sealed(root):
    handover = Handover(root)
    assert handover.environment == {}
    handover.close()


@given(st.binary(max_size=300))
def test_any_bytes_are_no_keyring(data):
    with pytest.raises(SealedKeysError):
        Ring.parse(data, "keyring")


@pytest.mark.parametrize(
    "change",
    [
        (b'"memory_kib": 64', b'"memory_kib": 999999999'),
        (b'"passes": 1', b'"passes": 0'),
        (b'"version": 1', b'"version": 2'),
        (b'"kind": "passphrase"', b'"kind": "key"'),
    ],
)
def test_altered_keyrings_are_refused(root, change):
    seal(root, by_passphrase(), os.urandom, cost=CHEAP)
    data = (root / KEYRING).read_bytes()
    assert change[0] in data
    (root / KEYRING).write_bytes(data.replace(*change))
    forget_keys()
    with pytest.raises(SealedKeysError):
        read_secret(root / "keys/tls.key")


def test_secrets_do_not_print(root):
    ring, key = Ring.make(by_passphrase(), os.urandom, CHEAP)
    shown = repr((ring, key, by_passphrase()))
    assert key.secret.hex() not in shown
    assert repr(key.secret) not in shown
    assert PASSPHRASE not in shown
