"""Password hashes: against the library's own form, strict reading, rules for new ones."""

import os

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import given
from hypothesis import strategies as st

from compliance.staff.passwords import Cost, PasswordHash, check_new_password
from protocols.errors import MalformedMessageError

RFC_TAG = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"


def test_the_library_agrees_with_the_vector_of_the_rfc():
    # RFC 9106, section 5.3.
    kdf = Argon2id(
        salt=b"\2" * 16, length=32, iterations=3, lanes=4, memory_cost=32,
        ad=b"\4" * 12, secret=b"\3" * 8,
    )  # fmt: skip
    assert kdf.derive(b"\1" * 32).hex() == RFC_TAG


def test_only_the_password_matches(cheap):
    kept = PasswordHash.of("correct horse battery", cheap, os.urandom)
    assert kept.matches("correct horse battery")
    assert not kept.matches("correct horse batterz")
    assert not kept.matches("")
    assert not PasswordHash.of_nobody(cheap).matches("correct horse battery")


def test_the_same_password_is_kept_differently_each_time(cheap):
    one, two = (PasswordHash.of("correct horse battery", cheap, os.urandom) for _ in range(2))
    assert one.tag != two.tag


def test_encodings_of_the_same_characters_match(cheap):
    composed, decomposed = "caf\u00e9 au lait!", "cafe\u0301 au lait!"
    assert PasswordHash.of(composed, cheap, os.urandom).matches(decomposed)


def test_a_lone_surrogate_is_a_wrong_password_and_no_crash(cheap):
    assert not PasswordHash.of("correct horse battery", cheap, os.urandom).matches("\udc80" * 12)


def test_a_hash_prints_no_secret(cheap):
    kept = PasswordHash.of("correct horse battery", cheap, lambda size: b"\x5a" * size)
    assert "5a" not in repr(kept)
    assert "Z" not in repr(kept)


def test_what_is_written_is_read(cheap):
    kept = PasswordHash.of("correct horse battery", cheap, os.urandom)
    assert PasswordHash.parse(kept.fields(), "p") == kept


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "argon2i"}, {"memory_kib": 1 << 30}, {"memory_kib": 1}, {"passes": 0},
        {"passes": 10**6}, {"lanes": 99}, {"salt": "00"}, {"tag": "zz" * 32}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_any_other_hash_is_refused_before_it_is_computed(cheap, change):
    good = PasswordHash.of("correct horse battery", cheap, os.urandom).fields()
    with pytest.raises(MalformedMessageError):
        PasswordHash.parse(good | change, "p")


@pytest.mark.parametrize(
    "password",
    ["short", "elevenchars", "a" * 40, "abababababab", "alice1234567", "x" * 300],
)
def test_passwords_that_are_guessed_are_refused_and_not_repeated(password):
    with pytest.raises(MalformedMessageError) as told:
        check_new_password(password, account="alice")
    assert password not in str(told.value)


@given(st.text(min_size=12, max_size=200))
def test_any_text_is_taken_or_refused_in_one_way(password):
    try:
        check_new_password(password, account="alice")
    except MalformedMessageError:
        return
    assert PasswordHash.of(password, Cost(8, 1, 1), os.urandom).matches(password)
