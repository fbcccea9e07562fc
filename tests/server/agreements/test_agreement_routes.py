"""What the hub takes in, from whom, and what it tells whom."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.bundle import Bundle
from compliance.agreement.profile import shipped_bytes
from compliance.agreement.revocation import revoke
from compliance.agreement.signing import SignedAgreement
from compliance.agreement.store import State
from server.agreements.service import MAX_DRAFTS, MAX_UNSIGNED

PARTNERS = ("insurer", "police", "telecom")
JSON = {"Content-Type": "application/json"}


def listed(desk, name):
    answer = desk.client(name).get("/v1/agreements")
    assert answer.status_code == 200
    return answer.json()["agreements"]


def test_each_party_signs_for_itself_until_it_is_in_force(desk, drafted):
    agreed = drafted()
    first = desk.offer("insurer", agreed, signed=["insurer", "hub"]).json()
    assert (first["state"], first["signed"]) == ("draft", ["hub", "insurer"])
    assert desk.sign("police", agreed).json()["state"] == "draft"
    assert desk.store.in_force(desk.clock.now()) is None
    last = desk.sign("telecom", agreed).json()
    assert (last["state"], last["is_new"]) == ("in_force", True)
    assert desk.store.in_force(desk.clock.now()) == agreed.agreement
    assert [item["state"] for item in listed(desk, "police")] == ["in_force"]


def test_what_was_taken_is_given_out_whole(desk, drafted):
    agreed = desk.whole(drafted())
    path = f"/v1/agreements/{agreed.agreement.digest.hex()}"
    found = Bundle.decode(desk.client("telecom").get(path).content)
    assert found.signed == agreed.signed
    assert desk.store.profile(found.agreement).id == "tw"
    assert found.profile is not None
    again = desk.client("police").post("/v1/agreements", content=found.encode(), headers=JSON)
    assert (again.status_code, again.json()["is_new"]) == (200, False)


def test_the_list_is_not_sent_twice(desk, drafted):
    agreed = drafted()
    desk.offer("insurer", agreed)
    first = desk.client("police").get("/v1/agreements")
    asked = {"If-None-Match": first.headers["etag"]}
    again = desk.client("police").get("/v1/agreements", headers=asked)
    assert (again.status_code, again.content) == (304, b"")
    desk.sign("telecom", agreed)
    changed = desk.client("police").get("/v1/agreements", headers=asked)
    assert changed.json()["agreements"][0]["signed"] == ["telecom"]


@pytest.mark.parametrize("party", PARTNERS)
def test_a_revocation_counts_at_once(desk, drafted, party, problem):
    agreed = desk.whole(drafted())
    assert desk.parts.agreements.store.in_force(desk.clock.now())
    assert desk.revoke(party, agreed).json()["state"] == "revoked"
    assert desk.parts.agreements.store.in_force(desk.clock.now()) is None
    assert desk.revoke(party, agreed).json()["is_new"] is False
    assert listed(desk, "insurer")[0]["revoked_by"] == [party]


def test_another_party_may_carry_a_revocation(desk, drafted):
    agreed = desk.whole(drafted())
    word = agreed.revocation("telecom", now=desk.clock.now())
    assert desk.revoke("police", agreed, word).json()["revoked_by"] == ["telecom"]


def test_a_forged_signature_is_refused_and_nothing_is_kept(desk, drafted, problem):
    agreed = drafted()
    stranger = Ed25519PrivateKey.generate().sign(agreed.agreement.encode())
    forged = replace(agreed, signed=SignedAgreement(agreed.agreement, {"insurer": stranger}))
    problem(desk.offer("insurer", forged, signed=["insurer"]), 422, "invalid_proof")
    assert not list(desk.directory.glob("*.json"))
    desk.offer("insurer", agreed)
    problem(desk.sign("insurer", agreed, signature=stranger), 422, "invalid_proof")
    assert listed(desk, "insurer")[0]["signed"] == []


def test_nobody_signs_for_another(desk, drafted, problem):
    agreed = drafted()
    desk.offer("insurer", agreed)
    problem(desk.sign("insurer", agreed, party="police"), 403, "not_permitted")
    own = agreed.signed.signatures["police"]
    problem(desk.sign("insurer", agreed, signature=own), 422, "invalid_proof")
    assert listed(desk, "insurer")[0]["signed"] == []


def test_a_forged_revocation_is_refused(desk, drafted, problem):
    agreed = desk.whole(drafted())
    word = agreed.revocation("telecom", now=desk.clock.now())
    forged = replace(word, party="police")
    problem(desk.revoke("insurer", agreed, forged), 422, "invalid_proof")
    late = agreed.revocation("telecom", now=desk.clock.now() + 9_999)
    problem(desk.revoke("telecom", agreed, late), 403, "not_permitted")
    other = drafted(quota=5)
    word = revoke(desk.keys["police"], other.agreement, "police", reason="x", now=1)
    problem(desk.revoke("police", agreed, word), 403, "not_permitted")
    assert desk.store.in_force(desk.clock.now())


def test_an_agreement_of_another_hub_is_refused(desk, drafted, problem):
    told = problem(desk.offer("insurer", drafted(hub="elsewhere")), 422, "unsupported_parameter")
    assert told.startswith("agreement.hub")


def test_everybody_in_it_must_have_joined_with_that_key(desk, agree, problem):
    parties = {name: desk.keys[name] for name in ("hub", *PARTNERS)}
    stranger = Ed25519PrivateKey.generate()
    more = agree(parties | {"police-two": stranger}, hub="lianfang")
    assert "police-two" in problem(desk.offer("insurer", more), 422, "unsupported_parameter")
    other = agree(parties | {"telecom": stranger}, hub="lianfang")
    assert "telecom" in problem(desk.offer("insurer", other), 422, "unsupported_parameter")
    other = agree(parties | {"hub": stranger}, hub="lianfang")
    problem(desk.offer("insurer", other), 422, "unsupported_parameter")


def test_who_is_no_party_cannot_hand_in_nor_see(desk, drafted, problem):
    agreed = drafted()
    problem(desk.offer("outsider", agreed), 403, "not_permitted")
    desk.whole(agreed)
    assert listed(desk, "outsider") == []
    path = f"/v1/agreements/{agreed.agreement.digest.hex()}"
    word = agreed.revocation("police", now=desk.clock.now())
    unknown = desk.client("police").get("/v1/agreements/" + "00" * 32)
    for answer in (
        desk.client("outsider").get(path),
        desk.sign("outsider", agreed, signature=bytes(64)),
        desk.revoke("outsider", agreed, word),
    ):
        problem(answer, 404, "not_found")
        assert answer.content == unknown.content
    assert desk.store.in_force(desk.clock.now())


def test_without_a_certificate_or_after_leaving_nothing_is_told(desk, drafted, problem):
    desk.whole(drafted())
    problem(desk.client(None).get("/v1/agreements"), 403, "certificate_required")
    problem(desk.client("nobody").get("/v1/agreements"), 403, "not_permitted")


def test_what_breaks_the_law_of_the_place_is_refused(desk, drafted, problem):
    kept = drafted().agreement.retention
    agreed = drafted(retention=replace(kept, log_months=12))
    told = problem(desk.offer("insurer", agreed), 422, "unsupported_parameter")
    assert "log_months" in told


def test_a_profile_must_be_the_one_that_is_named(desk, drafted, problem):
    agreed = drafted()
    answer = desk.offer("insurer", agreed, profile=b'{"format":"another"}')
    problem(answer, 422, "unsupported_parameter")
    bare = Bundle(agreed.signed).encode()
    sent = desk.client("insurer").post("/v1/agreements", content=bare, headers=JSON)
    assert sent.json()["state"] == "in_force"  # the hub has this edition itself


def test_two_versions_are_never_in_force_together(desk, drafted, problem):
    desk.whole(drafted())
    rival = drafted(quota=5)
    assert desk.offer("police", rival).json()["state"] == "draft"
    told = problem(desk.sign("police", rival), 422, "unsupported_parameter")
    assert "in force beside" in told
    answer = desk.offer("police", rival, signed=rival.agreement.names)
    problem(answer, 422, "unsupported_parameter")
    assert desk.store.in_force(desk.clock.now())


def test_the_next_version_takes_over_and_the_old_one_does_not_return(desk, drafted):
    first = desk.whole(drafted())
    second = desk.whole(drafted(former=first.agreement, quota=5))
    third = desk.whole(drafted(former=second.agreement, quota=6))
    assert desk.store.in_force(desk.clock.now()) == third.agreement
    answer = desk.offer("insurer", first, signed=first.agreement.names)
    assert (answer.json()["state"], answer.json()["is_new"]) == ("superseded", False)
    for path in desk.directory.glob(f"{second.agreement.digest.hex()}*"):
        path.unlink()
    # A replay where the versions between were lost brings nothing old back either.
    for path in desk.directory.glob(f"{first.agreement.digest.hex()}*"):
        path.unlink()
    answer = desk.offer("insurer", first, signed=first.agreement.names)
    assert answer.json()["state"] == "superseded"
    assert desk.store.in_force(desk.clock.now()) == third.agreement


def test_drafts_of_one_party_are_bounded_and_leave_room_for_others(desk, drafted, problem):
    for number in range(MAX_DRAFTS):
        assert desk.offer("insurer", drafted(quota=number + 1)).status_code == 200
    more = drafted(quota=99)
    told = problem(desk.offer("insurer", more), 422, "unsupported_parameter")
    assert "drafts of insurer" in told
    assert desk.offer("police", drafted(quota=77)).status_code == 200
    gone = drafted(quota=1)
    assert desk.revoke("insurer", gone).json()["state"] == "revoked"
    assert desk.offer("insurer", more).status_code == 200


def test_revoked_drafts_do_not_fill_the_disk(desk, drafted, problem):
    for number in range(MAX_UNSIGNED):
        one = drafted(quota=number + 1)
        assert desk.offer("insurer", one).status_code == 200
        assert desk.revoke("insurer", one).status_code == 200
    problem(desk.offer("insurer", drafted(quota=99)), 422, "unsupported_parameter")


def test_a_signature_on_a_revoked_draft_revives_nothing(desk, drafted):
    agreed = drafted()
    desk.offer("insurer", agreed)
    desk.revoke("police", agreed)
    for name in agreed.agreement.names[1:]:
        desk.sign(name, agreed)
    assert desk.offer("insurer", agreed, signed=["hub"]).json()["state"] == "revoked"
    assert desk.store.in_force(desk.clock.now()) is None


def test_a_draft_of_another_series_keeps_nobody_out(desk, drafted):
    assert desk.offer("insurer", drafted(name="other")).status_code == 200
    desk.whole(drafted())
    assert desk.store.in_force(desk.clock.now()).name == "joint-defence"


def test_bodies_that_are_too_large_or_of_another_type_are_refused(desk, drafted, problem):
    path = f"/v1/agreements/{drafted().agreement.digest.hex()}"
    large = b" " * (2 << 20) + b"{}"
    for method, where, size in (
        ("POST", "/v1/agreements", large),
        ("PUT", f"{path}/signatures/insurer", large[: (8 << 10) + 1]),
        ("POST", f"{path}/revocations", large[: (8 << 10) + 1]),
    ):
        client = desk.client("insurer")
        problem(client.request(method, where, content=size, headers=JSON), 413, "body_too_large")
        problem(client.request(method, where, content=b"{}"), 415, "media_type")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"1e999", b'{"agreement":{}}', b'{"format":"x"}', b"\xff",
             b'{"agreement":{},"signatures":{}}', b'{"signature":"00"}', b"[" * 100_000]
)  # fmt: skip
def test_bytes_that_say_nothing_fail_in_one_way(desk, drafted, problem, body):
    agreed = drafted()
    desk.offer("insurer", agreed)
    path = f"/v1/agreements/{agreed.agreement.digest.hex()}"
    client = desk.client("insurer")
    problem(client.post("/v1/agreements", content=body, headers=JSON), 400, "malformed_message")
    small = body[:8_000]
    answer = client.put(f"{path}/signatures/insurer", content=small, headers=JSON)
    problem(answer, 400, "malformed_message")
    answer = client.post(f"{path}/revocations", content=small, headers=JSON)
    problem(answer, 400, "malformed_message")


def test_a_full_disk_is_told_as_such(desk, drafted, problem):
    desk.whole(first := drafted())
    second = drafted(former=first.agreement)
    sent = desk.directory / "sent"
    for path in sent.iterdir():
        path.unlink()
    sent.rmdir()
    sent.write_bytes(b"no directory")
    problem(desk.offer("insurer", second), 503, "storage_failed")
    assert listed(desk, "insurer")[0]["state"] == "in_force"


def test_damage_at_the_hub_is_no_agreement(desk, drafted, problem):
    desk.whole(drafted())
    next(desk.directory.glob("*.hub.signature")).write_text("00" * 64)
    problem(desk.client("insurer").get("/v1/agreements"), 503, "log_corrupt")


def test_states_follow_the_clock(desk, drafted):
    now = desk.clock.now()
    desk.whole(drafted(begins=now + 100, ends=now + 200))
    assert listed(desk, "insurer")[0]["state"] == "awaited"
    assert desk.store.state(bytes.fromhex(listed(desk, "insurer")[0]["digest"]), now + 300) is (
        State.ENDED
    )


def test_another_spelling_of_the_profile_is_the_same_profile(desk, drafted):
    first = drafted()
    desk.offer("insurer", first)
    spelled = shipped_bytes("tw").replace(b"\n", b"\n ")
    answer = desk.offer("police", drafted(quota=5), profile=spelled)
    assert answer.status_code == 200
