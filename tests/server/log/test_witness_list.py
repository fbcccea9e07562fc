"""witnesses.json: what it may hold, and the policy that follows from it."""

import json

import pytest

from compliance.configuration import ConfigError
from protocols.tlog.policy import Policy
from server.log.witnesses import Listed, Witnesses


@pytest.fixture
def listed(town):
    return Witnesses(2, town.listed)


def test_file_is_read_back_and_its_policy_holds_together(listed, town, tmp_path):
    path = tmp_path / "witnesses.json"
    path.write_text(json.dumps(listed.fields()))
    found = Witnesses.load(path)
    assert found == listed
    policy = found.policy([town.signer.key])
    assert Policy.decode(policy.encode()) == policy


@pytest.mark.parametrize(
    ("signed", "enough"),
    [
        ((), False),
        (("police.1",), False),
        (("police.1", "police.2"), False),  # two keys of one witness are one witness
        (("police.1", "telecom.2"), True),
        (("insurer.2", "police.1", "telecom.2"), True),
    ],
)
def test_witness_counts_once_whichever_key_signed(listed, town, signed, enough):
    policy = listed.policy([town.signer.key])
    assert policy.is_quorum(dict.fromkeys(signed, 1)) is enough


def edited(change):
    def apply(value):
        change(value)
        return value

    return apply


@pytest.mark.parametrize(
    "change",
    [
        edited(lambda value: value.update(quorum=0)),
        edited(lambda value: value.update(quorum=4)),
        edited(lambda value: value.update(quorum="2")),
        edited(lambda value: value.update(quorum=True)),
        edited(lambda value: value.pop("quorum")),
        edited(lambda value: value.update(extra=1)),
        edited(lambda value: value["witnesses"].append(1)),
        edited(lambda value: value["witnesses"].append(value["witnesses"][0])),
        edited(lambda value: value["witnesses"][0].update(name="a b")),
        edited(lambda value: value["witnesses"][0].update(keys=[])),
        edited(lambda value: value["witnesses"][0].update(keys=[1])),
        edited(lambda value: value["witnesses"][0].update(keys=["x"])),
        edited(lambda value: value["witnesses"][0].update(url="http://witness.example")),
        edited(lambda value: value["witnesses"][0].update(url=None)),
        lambda value: [],
    ],
)
def test_wrong_file_is_told(listed, tmp_path, change):
    path = tmp_path / "witnesses.json"
    path.write_text(json.dumps(change(listed.fields())))
    with pytest.raises(ConfigError, match="witness"):
        Witnesses.load(path)


def test_key_of_a_log_is_no_witness(town):
    with pytest.raises(ConfigError, match="type"):
        Witnesses(1, (Listed("police", (town.signer.key,)),)).policy([])
