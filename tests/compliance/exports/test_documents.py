"""Agreements and policies in packs: each is what its name says, and signed by all."""

import json
import shutil
from dataclasses import replace

import pytest

from compliance.agreement.profile import shipped_bytes
from compliance.agreement.revocation import revoke
from compliance.exports.check import check_export
from compliance.exports.filters import Filter
from compliance.exports.pack import write_pack
from compliance.exports.source import open_source
from compliance.policy.policyset import shipped_policies
from protocols.tlog.entry import Agreement


@pytest.fixture
def documents(signed, parties):
    """What entries rest on, by path in a pack."""
    agreement, policies = signed.agreement, shipped_policies()
    name, now = agreement.digest.hex(), agreement.not_before + 5
    ended = revoke(parties["insurer"], agreement, "insurer", reason="over", now=now)
    return {
        f"agreements/{name}.json": signed.format(),
        f"agreements/{name}.insurer.revocation": ended.encode(),
        f"profiles/{agreement.profile.digest.hex()}.json": shipped_bytes("tw"),
        f"policies/{policies.digest.hex()}.json": policies.encode(),
    }


@pytest.fixture
def pack(world, tools, signed, documents):
    return make_pack(world, tools, signed, documents)


def make_pack(world, tools, signed, documents, *, name="joint-defence", wanted=None):
    named = Agreement(name, signed.agreement.digest)
    policies = shipped_policies().digest
    entries = [
        tools.make_entry(number, agreement=named, policy_set=policies) for number in range(20)
    ]
    export = world.publish(entries)
    out = world.directory / "pack.zip"
    with open_source(export) as source:
        write_pack(source, out, policy=world.policy, wanted=wanted or Filter(),
                   documents=documents, publisher="insurer")  # fmt: skip
    return world.unpack(out, "pack")


def check(world, path):
    with open_source(path) as source:
        return check_export(source, world.policy)


def test_documents_hold_and_are_counted(world, tools, signed, documents, pack):
    checked = check(world, pack)
    assert checked.is_whole, checked.fault
    assert (checked.documents, checked.absent) == (4, ())
    metadata = json.loads((pack / "ro-crate-metadata.json").read_bytes())
    assert metadata["@graph"][-1]["name"] == "insurer"
    shutil.rmtree(pack)
    shutil.rmtree(world.directory / "export")
    selection = make_pack(world, tools, signed, documents, wanted=Filter(since=tools.NOW + 10))
    checked = check(world, selection)
    assert checked.is_whole, checked.fault
    assert (checked.selected, checked.documents, checked.absent) == (10, 4, ())


def test_documents_that_entries_name_and_that_are_missing_are_told(world, tools, signed, documents):
    kept = {path: data for path, data in documents.items() if path.startswith("profiles/")}
    checked = check(world, make_pack(world, tools, signed, kept))
    assert checked.is_whole, checked.fault
    digests = signed.agreement.digest.hex(), shipped_policies().digest.hex()
    assert checked.absent == (f"agreements/{digests[0]}", f"policies/{digests[1]}")


def rewrite(pack, folder, change):
    (path,) = (pack / folder).glob("*.json")
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("folder", "change", "told"),
    [
        ("agreements", lambda data: data.replace(b'"police": "', b'"police": "00', 1), "signat"),
        ("agreements", lambda data: data.replace(b'"run_epsilon": ', b'"run_epsilon": 0.0', 1), ""),
        ("profiles", lambda data: data.replace(b'"tw"', b'"tx"', 1), "is not the document"),
        ("policies", lambda data: data.replace(b"hour >= 7", b"hour >= 1", 1), "is not the docu"),
        ("policies", lambda data: b"{}", ""),
    ],
)
def test_altered_documents_are_told(world, pack, folder, change, told):
    rewrite(pack, folder, change)
    fault = check(world, pack).fault
    assert fault.startswith(f"{folder}/")
    assert told in fault


def test_agreement_that_a_party_has_not_signed_is_told(world, tools, signed, documents):
    name = f"agreements/{signed.agreement.digest.hex()}.json"
    others = {party: line for party, line in signed.signatures.items() if party != "police"}
    documents[name] = replace(signed, signatures=others).format()
    pack = make_pack(world, tools, signed, documents)
    assert "signature of police is missing" in check(world, pack).fault


def test_agreement_under_another_name_than_entries_give_is_told(world, tools, signed, documents):
    pack = make_pack(world, tools, signed, documents, name="other-defence")
    assert "entries give it another name" in check(world, pack).fault


def test_revocation_under_the_name_of_another_party_is_told(world, pack):
    (path,) = (pack / "agreements").glob("*.revocation")
    path.rename(path.with_name(path.name.replace("insurer", "police")))
    assert check(world, pack).fault.endswith("is of insurer")


def test_documents_lie_in_their_folders_only(world, tools, signed):
    with pytest.raises(ValueError, match="outside"):
        make_pack(world, tools, signed, {"checkpoint": b""})
