"""Passkeys against an authenticator in software: registered, used, counted, removed, refused."""

import json
import threading
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

from compliance.signin.errors import SignInError
from compliance.signin.passkeys import MOST_EACH, passkey_word
from compliance.signin.signin import From
from compliance.staff.accounts import State

ADD = "/account/passkeys"


def add(browser, authenticator, name="my key", **wrong):
    browser.get("/account")
    options = browser.options(f"{ADD}/options")
    browser.get("/account")
    answer = {"credential": authenticator.create(options, **wrong), "name": name}
    return browser.post(ADD, answer)


def enter(scene, authenticator, options=None, **wrong):
    """Sign in by passkey, in a new browser."""
    browser = scene.browser()
    browser.get("/signin")
    asked = browser.options("/signin/passkey/options")
    answer = authenticator.get(options or asked, **wrong)
    return browser, browser.post("/signin/passkey", {"credential": answer, "next": "/"})


@pytest.fixture
def keyed(scene, authenticator):
    assert add(scene.signed_in("amy"), authenticator).headers["location"].endswith("passkey_added")
    return scene


def test_a_passkey_signs_in_without_a_name(keyed, authenticator):
    browser, answer = enter(keyed, authenticator)
    assert answer.status_code == 303
    page = browser.get("/account").text
    assert "my key" in page
    assert keyed.told() == [
        ("sign_in", "done", "staff/password", "staff.sign-in"),
        ("add_passkey", "done", "staff/passkey", "staff.sign-in"),
        ("sign_in", "done", "staff/passkey", "staff.sign-in"),
    ]


def test_options_ask_for_a_verified_user_and_tell_nothing_of_the_person(scene):
    browser = scene.signed_in("amy")
    browser.get("/account")
    options = browser.options(f"{ADD}/options")
    assert options["rp"]["id"] == "localhost"
    assert options["attestation"] == "none"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert "amy" not in options["user"]["id"]
    assert len(options["challenge"]) == 43
    outside = scene.browser()
    outside.get("/signin")
    asked = outside.options("/signin/passkey/options")
    assert asked["userVerification"] == "required"
    assert not asked.get("allowCredentials"), "a list would tell who has a passkey"


OTHER = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    "wrong",
    [
        {"challenge": "AAAA"},
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:9446"},
        {"type": "webauthn.create"},
        {"flags": 0x01},  # present, not verified
        {"flags": 0x04},  # verified, not present
        {"key": OTHER},
        {"handle": b"somebody else"},
        {"count": 0},
    ],
    ids="-".join,
)
def test_a_wrong_assertion_opens_nothing(keyed, authenticator, wrong):
    enter(keyed, authenticator)  # the counter stands at 1
    browser, answer = enter(keyed, authenticator, **wrong)
    assert answer.status_code == 422
    assert browser.get("/account").status_code == 303
    assert keyed.told()[-1] == ("sign_in", "refused", "staff/passkey", "signin.passkey")


@pytest.mark.parametrize("wrong", [{"challenge": "AAAA"}, {"origin": "https://evil.example"},
                                   {"type": "webauthn.get"}, {"flags": 0x01}], ids=str)  # fmt: skip
def test_a_wrong_registration_keeps_nothing(scene, authenticator, wrong):
    assert add(scene.signed_in("amy"), authenticator, **wrong).status_code == 422
    assert scene.door.store.passkeys("amy") == []
    assert scene.told()[-1] == ("add_passkey", "refused", "staff/passkey", "signin.passkey")


def test_another_sites_passkey_is_none_of_ours(keyed, authenticator):
    authenticator.party = "evil.example"
    assert enter(keyed, authenticator)[1].status_code == 422


def test_an_answer_counts_once(keyed, authenticator):
    browser = keyed.browser()
    browser.get("/signin")
    answer = authenticator.get(browser.options("/signin/passkey/options"))
    thief = browser.copy()
    assert browser.post("/signin/passkey", {"credential": answer}).status_code == 303
    assert thief.post("/signin/passkey", {"credential": answer}).status_code == 422


def test_an_answer_counts_in_the_browser_that_was_asked(keyed, authenticator):
    browser, other = keyed.browser(), keyed.browser()
    browser.get("/signin")
    other.get("/signin")
    other.options("/signin/passkey/options")
    answer = authenticator.get(browser.options("/signin/passkey/options"))
    assert other.post("/signin/passkey", {"credential": answer}).status_code == 422


def test_a_challenge_is_forgotten_after_ten_minutes(keyed, authenticator):
    browser = keyed.browser()
    browser.get("/signin")
    answer = authenticator.get(browser.options("/signin/passkey/options"))
    keyed.clock.advance(600)
    assert browser.post("/signin/passkey", {"credential": answer}).status_code == 422


def test_two_that_count_alike_are_a_copy(keyed, authenticator):
    """Both answers are good by themselves; of two at the same moment one gets in."""
    secrets = [bytes([n]) * 32 for n in (1, 2)]
    passkeys, opened = keyed.door.passkeys, []
    answers = [authenticator.get(passkeys.ask(s, now=keyed.clock.now()), count=7) for s in secrets]

    def use(secret, answer):
        with suppress(SignInError):
            opened.append(keyed.door.by_passkey(answer, From(secret, "s", "", keyed.clock.now())))

    threads = [
        threading.Thread(target=use, args=pair) for pair in zip(secrets, answers, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1


def test_an_authenticator_that_never_counts_may_sign_in(keyed, authenticator):
    assert enter(keyed, authenticator, count=0)[1].status_code == 303
    assert enter(keyed, authenticator, count=0)[1].status_code == 303


def test_a_suspended_account_opens_by_no_passkey(keyed, authenticator):
    keyed.change("amy", state=State.SUSPENDED)
    assert enter(keyed, authenticator)[1].status_code == 422
    assert keyed.told()[-1][-1] == "signin.suspended"


def test_several_passkeys_and_removal(keyed, authenticator, new_authenticator):
    second = new_authenticator()
    browser = keyed.signed_in("amy")
    assert add(browser, second, name="drawer").status_code == 303
    first, other = keyed.door.store.passkeys("amy")
    assert first.handle == other.handle
    assert enter(keyed, second)[1].status_code == 303
    page = browser.get("/account")
    assert page.text.count('name="passkey"') == 2
    (word,) = (passkey_word(item.id) for item in (first, other) if item.name == "my key")
    assert word in page.text
    assert browser.post(f"{ADD}/remove", {"passkey": word}).status_code == 303
    assert enter(keyed, authenticator)[1].status_code == 422
    assert enter(keyed, second)[1].status_code == 303


def test_nobody_removes_the_passkey_of_another(keyed):
    (passkey,) = keyed.door.store.passkeys("amy")
    otto = keyed.signed_in("otto")
    otto.get("/account")
    answer = otto.post(f"{ADD}/remove", {"passkey": passkey_word(passkey.id)})
    assert answer.status_code == 422
    assert len(keyed.door.store.passkeys("amy")) == 1


def test_the_same_passkey_is_registered_once(keyed, authenticator):
    otto = keyed.signed_in("otto")
    otto.get("/account")
    options = otto.options(f"{ADD}/options")
    number, item = next(iter(authenticator.keys.items()))
    made = json.loads(authenticator.create(options))
    twin = list(authenticator.keys)[-1]
    data = made["response"]["attestationObject"]
    swapped = base64url_to_bytes(data).replace(twin, number)
    word = bytes_to_base64url(number)
    made |= {"id": word, "rawId": word}
    made["response"]["attestationObject"] = bytes_to_base64url(swapped)
    otto.get("/account")
    assert otto.post(ADD, {"credential": json.dumps(made), "name": ""}).status_code == 422
    assert keyed.door.store.passkey(number).account == "amy"
    assert item


def test_an_account_has_so_many_passkeys(scene, new_authenticator):
    browser = scene.signed_in("amy")
    for _ in range(MOST_EACH):
        assert add(browser, new_authenticator()).status_code == 303
    assert browser.post(f"{ADD}/options", accept="application/json").status_code == 403


def test_proving_again_takes_the_own_passkey_alone(keyed, authenticator, new_authenticator):
    others = new_authenticator()
    assert add(keyed.signed_in("otto"), others).status_code == 303
    browser = keyed.signed_in("amy")
    keyed.clock.advance(400)
    for which, status in ((others, 422), (authenticator, 303)):
        browser.get("/again?next=/account")
        options = browser.options("/again/passkey/options")
        browser.get("/again?next=/account")
        answer = browser.post(
            "/again/passkey", {"credential": which.get(options), "next": "/account"}
        )
        assert answer.status_code == status


@given(st.one_of(st.text(max_size=200), st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=20)),
    lambda inner: st.dictionaries(
        st.sampled_from(["id", "rawId", "type", "response", "userHandle", "clientDataJSON",
                         "authenticatorData", "signature", "attestationObject"]), inner),
).map(json.dumps)))  # fmt: skip
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_any_answer_is_refused_in_one_way(keyed, answer):
    passkeys, now, secret = keyed.door.passkeys, keyed.clock.now(), b"s" * 32
    account = keyed.staff.find("amy")
    passkeys.ask(secret, now=now)
    with pytest.raises(SignInError):
        passkeys.verify(secret, answer, now=now)
    passkeys.options(account, secret, now=now)
    with pytest.raises(SignInError):
        passkeys.register(account, secret, answer, "", now=now)
