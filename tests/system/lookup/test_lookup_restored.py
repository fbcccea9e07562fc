"""A town with sealed keys, backed up under load, wiped and put back: nothing is given back.

The steps are taken once, in order, and every test looks at what one of them said.
"""

import base64
import os
import shutil
import threading
from contextlib import closing, suppress
from dataclasses import dataclass, field

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from clients.demo.bringing_up import ACTING, AGREEING
from compliance.atrest.keyring import forget_keys
from compliance.atrest.sealing import secrets_in, standing
from compliance.atrest.unlocking import UNLOCK
from compliance.backup.asking import BACKUP_KEY
from compliance.evaluations.book import EvaluationBook
from server.keeping.place import keeping_of

pytestmark = pytest.mark.slow

INVITING = ("--as", ACTING)
# The officer decides it, and another agrees.
BY_TWO = ("--as", AGREEING, "--second", ACTING)
REASON = ("--reason", "the disk of the machine failed")
SEALED = ("insurer", "police", "telecom")


@dataclass
class Story:
    """What the steps said."""

    town: object
    clear: list[bytes] = field(default_factory=list)
    said: dict = field(default_factory=dict)
    used: dict = field(default_factory=dict)

    def root(self, name):
        return self.town.hub if name == "hub" else self.town.node(name)

    def archive(self, name):
        return self.town.root / f"{name}.backup"

    def elements(self, name):
        """How many elements a holder has charged the insurer for in the first epoch."""
        place = self.root(name) / "holder" / "book.journal"
        with closing(
            EvaluationBook(keeping_of(self.town.hub).book if name == "hub" else place)
        ) as book:
            return book.used(1, "insurer")


def forms_of(path):
    """Every way in which a private key may stand in a file: raw, DER, PEM, hex, base64."""
    data = path.read_bytes()
    for load in (load_pem_private_key, load_ssh_private_key):
        with suppress(ValueError, UnsupportedAlgorithm):
            key = load(data, password=None)
            der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            raw = (
                key.private_bytes_raw()
                if hasattr(key, "private_bytes_raw")
                else key.private_numbers().private_value.to_bytes(key.key_size // 8, "big")
            )
            lines = [line for line in data.splitlines() if len(line) > 40]
            yield from (raw, raw.hex().encode(), base64.b64encode(raw)[:-4], der, *lines)
            return
    yield from (data, data.hex().encode(), base64.b64encode(data)[:-4])


@pytest.fixture(scope="module")
def story(make_town, people, tmp_path_factory):
    made = Story(make_town("restored"))
    town = made.town
    town.place.stop()
    given = tmp_path_factory.mktemp("given")
    for name in ("unlock", "backup"):
        (given / name).write_text(os.urandom(32).hex())
        (given / name).chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("hub", *SEALED):
            made.clear += [form for path in secrets_in(made.root(name)) for form in forms_of(path)]
        for name in ("hub", *SEALED):
            command = town.lianfang_hub if name == "hub" else town.lianfang
            command("keys", "seal", made.root(name), "--with", f"file:{given / 'unlock'}")
        made.said["locked"] = town.lianfang_hub("serve", town.hub, "--no-flower", code=4)
        patch.setenv(UNLOCK, f"file:{given / 'unlock'}")
        patch.setenv(BACKUP_KEY, f"file:{given / 'backup'}")
        steps(made, people)
        yield made
    forget_keys()


def steps(made, people):
    town = made.town
    town.start()
    made.said["sealed"] = [town.check(person).fields["light"] for person in asked(people, 0)]
    town.lianfang_hub("invite", town.hub, "fourth", *INVITING)
    under_load(made, people)
    made.said["later"] = [town.check(person).fields["light"] for person in asked(people, 1)]
    town.until(lambda: fetched(made, "before") == entries_of(town), 60)
    made.used = {name: made.elements(name) for name in ("hub", "telecom")}
    town.place.stop()
    for name in ("hub", "telecom"):
        shutil.rmtree(made.root(name))
        keep = town.lianfang_hub if name == "hub" else town.lianfang
        made.said[name] = keep("restore", made.archive(name), made.root(name)).fields
    keeping_of(town.hub).close()
    settle_hub(made)
    town.serve()
    town.hold("police")
    made.said["again"] = [town.check(person).fields["light"] for person in asked(people, 2)]
    made.said["fetched"] = fetched(made, "before")
    settle_telecom(made)
    town.hold("telecom")


def settle_hub(made):
    town, copy = made.town, made.town.root / "before"
    made.said["unsettled"] = town.lianfang_hub("serve", town.hub, "--no-flower", code=3)
    town.lianfang_hub("settle", town.hub, *REASON, *BY_TWO, code=4)
    seen = ("--seen", copy / "checkpoint")
    made.said["no_copy"] = town.lianfang_hub("settle", town.hub, *seen, *REASON, *BY_TWO, code=4)
    one = ("--copy", copy, *REASON, *BY_TWO[:2])
    made.said["alone"] = town.lianfang_hub("settle", town.hub, *one, code=3)
    whole = ("--copy", copy, *REASON, *BY_TWO)
    made.said["settled"] = town.lianfang_hub("settle", town.hub, *whole).fields


def settle_telecom(made):
    town = made.town
    start = ("holder", "start", town.node("telecom"))
    made.said["unsettled_node"] = town.lianfang(*start, code=3, text=True)
    fetch = ("audit", "fetch", town.node("telecom"), "--out", town.root / "telecoms-copy")
    town.lianfang(*fetch)
    given = ("--log", town.root / "telecoms-copy", *REASON, *BY_TWO)
    made.said["settled_node"] = town.lianfang("settle", town.node("telecom"), *given).fields


def under_load(made, people):
    """Back hub and telecom up while the desk asks without pause."""
    town, stop, lights = made.town, threading.Event(), []

    def ask():
        while not stop.is_set():
            lights.append(town.check(people.red[20 + len(lights)]).fields["light"])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        hub = town.lianfang_hub("backup", town.hub, made.archive("hub")).fields
        node = town.lianfang("backup", town.node("telecom"), made.archive("telecom")).fields
    finally:
        stop.set()
        thread.join()
    made.said |= {"load": lights, "backup": hub, "node_backup": node}


def asked(people, at):
    return people.red[at], people.green[at]


def fetched(made, name):
    """Bring the insurer's copy of the log up to date; return its size."""
    town = made.town
    fetch = ("audit", "fetch", town.node("insurer"), "--out", town.root / name)
    return town.lianfang(*fetch).fields["size"]


def entries_of(town):
    said = town.lianfang_hub("log", "status", town.hub).fields
    return max(item["entries"] for item in said["years"])


def test_sealed_directories_hold_no_key_in_clear(story):
    assert len(story.clear) > 60
    for name in ("hub", *SEALED):
        root = story.root(name)
        assert standing(root).is_whole, standing(root).clear
        for path in root.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert not any(form in data for form in story.clear), path


def test_sealed_town_serves_and_locked_one_says_why(story):
    assert story.said["sealed"] == ["red", "green"]
    assert UNLOCK in story.said["locked"].err


def test_backup_under_load_disturbs_nobody(story):
    assert story.said["load"]
    assert set(story.said["load"]) == {"red"}
    assert story.said["backup"]["parts"] > 20
    assert story.said["later"] == ["red", "green"]


def test_restored_hub_is_not_served_before_it_is_settled(story):
    assert "settle" in story.said["unsettled"].err
    assert "settle" in story.said["unsettled_node"].err
    assert "--copy" in story.said["no_copy"].err
    assert "second" in story.said["alone"].err


def test_restore_gives_no_quota_back(story):
    assert story.said["settled"]["charged_elements"] > 0
    assert story.elements("hub") >= story.used["hub"] + 2
    assert story.elements("telecom") >= story.used["telecom"]
    assert story.said["settled_node"]["charged_elements"] > 0


def test_restored_log_goes_on_without_a_fork(story):
    assert sum(story.said["settled"]["recovered_entries"].values()) > 0
    # The fetch of the copy that was there before refuses every other history.
    before = story.said["backup"]["logs"][0]["size"]
    assert story.said["fetched"] > before
    copy = story.town.root / "before"
    story.town.lianfang("audit", "verify", copy, "--policy", copy.with_name("before.policy"))


def test_lookups_go_on_and_open_invitations_end(story):
    assert story.said["again"] == ["red", "green"]
    assert story.said["settled"]["ended_invitations"] == ["fourth"]


def test_restored_witness_has_no_keys(story):
    assert not (story.root("telecom") / "keys" / "witness.key").exists()


def test_settled_directories_may_be_backed_up_again(story):
    town = story.town
    town.lianfang_hub("backup", town.hub, town.root / "again.backup")
    town.lianfang("backup", town.node("telecom"), town.root / "again-node.backup")


@pytest.mark.parametrize("at", [0, 40, 5_000, -1, None])
def test_damaged_archive_leaves_nothing_behind(story, tmp_path, at):
    data = bytearray(story.archive("hub").read_bytes())
    if at is None:
        del data[-300_000:]
    else:
        data[at] ^= 1
    bad = tmp_path / "bad.backup"
    bad.write_bytes(data)
    said = story.town.lianfang_hub("restore", bad, tmp_path / "target", code=4)
    assert "Traceback" not in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.backup"]
