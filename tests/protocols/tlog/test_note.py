"""Signed notes: examples of others, and what a note must not be."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.lines import parse_base64
from protocols.tlog.note import (
    KeyKind,
    Note,
    SignatureLine,
    Signer,
    VerifierKey,
    sign_note,
    verify_note,
)

SHARED = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "tlog" / "signed_notes.json"


@pytest.fixture(scope="module")
def notes(vectors):
    return json.loads((vectors / "signed_notes.json").read_text())


def test_example_of_the_specification_verifies(notes):
    example = notes["c2sp_signed_note_example"]
    key = VerifierKey.parse(example["vkey"])
    note = Note.decode(example["note"].encode())
    assert verify_note(note, [key]) == [key]
    assert note.text == "This is an example message.\n"
    assert note.encode() == example["note"].encode()
    assert key.format() == example["vkey"]


@pytest.mark.skipif(not SHARED.exists(), reason="the checkpoint of sum.golang.org is not here")
def test_checkpoint_of_the_go_checksum_database_verifies():
    real = json.loads(SHARED.read_text())["sum_golang_org"]
    note = Note.decode(real["note"].encode())
    verify_note(note, [VerifierKey.parse(real["vkey"])])
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("go.sum database tree", 35225469)


def test_signer_of_the_go_tests_has_its_key_id(notes):
    # golang/mod sumdb/note/note_test.go: the key text is PRIVATE+KEY+<name>+<id>+<base64>.
    _, _, name, key_id, encoded = notes["x_mod_keys"]["skey"].split("+", 4)
    data = parse_base64(encoded, "key")
    signer = Signer.from_seed(name, KeyKind(data[0]), data[1:])
    assert signer.key.key_id.hex() == key_id
    # The example and its signature stand in golang/mod sumdb/note/example_test.go.
    text = "If you think cryptography is the answer to your problem,\n"
    text += "then you don't know what your problem is.\n"
    expected = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6K"
    expected += "E6RyyBwJnAM="
    assert sign_note(text, signer).format() == f"— {name} {expected}\n"


def test_sample_log_is_signed_by_its_key(vectors):
    key = VerifierKey.parse(
        "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
    )
    for size in range(16):
        path = vectors / "tessera_sample_log" / f"checkpoint.{size}"
        verify_note(Note.decode(path.read_bytes()), [key])


@pytest.fixture
def note(log_signer):
    text = "first\n\nlast, after an empty line\n"
    return Note(text, (sign_note(text, log_signer),))


def test_note_survives_with_empty_lines_in_its_text(note, log_signer):
    found = Note.decode(note.encode())
    assert found == note
    assert verify_note(found, [log_signer.key]) == [log_signer.key]


def test_changed_text_is_refused(note, log_signer):
    data = note.encode()
    with pytest.raises(InvalidProofError, match="does not hold"):
        verify_note(Note.decode(data.replace(b"last", b"lost")), [log_signer.key])


def test_unknown_lines_are_passed_over(note, log_signer):
    others = [
        SignatureLine("other.example", log_signer.key.key_id, b"x" * 64),
        SignatureLine(log_signer.name, b"none", b"y" * 64),
    ]
    many = note.with_signatures(others)
    assert verify_note(many, [log_signer.key]) == [log_signer.key]


def test_one_bad_line_of_a_known_key_spoils_the_note(note, log_signer):
    bad = SignatureLine(log_signer.name, log_signer.key.key_id, b"x" * 64)
    with pytest.raises(InvalidProofError):
        verify_note(note.with_signatures([bad]), [log_signer.key])


def test_note_without_a_known_signature_is_refused(note):
    other = Signer.from_seed("other.example", KeyKind.ED25519, b"o" * 32)
    with pytest.raises(InvalidProofError, match="not signed by any known key"):
        verify_note(note, [other.key])
    with pytest.raises(InvalidProofError):
        verify_note(note, [])


def test_witness_key_does_not_verify_plain_text(note, log_signer, witness_signer):
    plain = Signer(log_signer.name, KeyKind.COSIGNATURE, log_signer.private)
    line = SignatureLine(plain.name, plain.key.key_id, note.signatures[0].signature)
    with pytest.raises(InvalidProofError, match="signs no plain text"):
        verify_note(Note(note.text, (line,)), [plain.key])
    with pytest.raises(ValueError, match="signs no plain text"):
        sign_note(note.text, witness_signer)


GOOD = "text\n\n— a.example AAAAAAE=\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "text\n",
        "text\n\n",
        "text\n\n\n",
        "text\n— a.example AAAAAAE=\n",
        "\n— a.example AAAAAAE=\n",
        GOOD[:-1],
        GOOD + "\n",
        GOOD + "more\n",
        GOOD.replace("—", "-"),
        GOOD.replace("— ", "—"),
        GOOD.replace("a.example", "a+b"),
        GOOD.replace("a.example ", " "),
        GOOD.replace("a.example", "a\u00a0b"),
        GOOD.replace("a.example", "a\u2003b"),
        GOOD.replace(" AAAAAAE=", ""),
        GOOD.replace("AAAAAAE=", "AAAAAAE"),
        GOOD.replace("AAAAAAE=", "AAAAAAF="),
        GOOD.replace("AAAAAAE=", "AAAAAA=="),
        GOOD.replace("AAAAAAE=", "AAA\u0661AAE="),
        GOOD.replace("AAAAAAE=", "AAAA AAE="),
        GOOD.replace("AAAAAAE=", "AAAA-AE="),
        GOOD.replace("text", "te\txt"),
        GOOD.replace("text", "te\rxt"),
        GOOD.replace("text", "te\0xt"),
        "text\n\n" + GOOD.split("\n\n")[1] * 101,
    ],
)
def test_what_is_no_note_is_refused(text):
    with pytest.raises(MalformedMessageError):
        Note.decode(text.encode())
    assert Note.decode(GOOD.encode()).encode() == GOOD.encode()


def test_note_that_is_not_text_or_too_long_is_refused():
    with pytest.raises(MalformedMessageError, match="utf-8"):
        Note.decode(b"te\xffxt\n\n" + GOOD.split("\n\n")[1].encode())
    with pytest.raises(MalformedMessageError, match="at most"):
        Note.decode(b"x" * (1 << 20) + GOOD.encode())


VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("530d903a", "530D903A"),
        VKEY.replace("530d903a", "530d903"),
        VKEY.replace("example.com/foo", "example.com/bar"),
        VKEY.replace("example.com/foo", ""),
        VKEY.replace("example.com/foo", "example com"),
        VKEY.replace("example.com/foo", "\ud800"),
        VKEY + "=",
        VKEY + "\n",
        VKEY[:-4],
        VKEY[:-1] + "l",
        VKEY.replace("+Aek", "+Bek"),
        VKEY.replace("+Aek", "+Cek"),
        VKEY.partition("+Aek")[0] + "+",
    ],
)
def test_what_is_no_verifier_key_is_refused(text):
    with pytest.raises(MalformedMessageError):
        VerifierKey.parse(text)


def test_golden_keys_are_read_and_written(vectors):
    lines = (vectors / "golden_cosigned_log" / "vkeys.txt").read_text().split()
    keys = [VerifierKey.parse(line) for line in lines]
    assert [key.kind for key in keys] == [1, 4, 4, 6]
    assert [key.format() for key in keys] == lines


def test_signer_hides_its_key_and_refuses_another_kind():
    private = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
    signer = Signer("a.example", KeyKind.ED25519, private)
    assert "private" not in repr(signer)
    with pytest.raises(TypeError, match="MLDSA44"):
        Signer("a.example", KeyKind.SUBTREE, private)


@pytest.mark.parametrize("text", ["", "no newline", "tab\there\n"])
def test_text_that_cannot_be_a_note_is_not_signed(text, log_signer):
    with pytest.raises(ValueError, match="note"):
        sign_note(text, log_signer)
