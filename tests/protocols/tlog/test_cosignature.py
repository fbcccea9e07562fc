"""Checkpoints and cosignatures: those of another implementation, and the limits of ours."""

import pytest

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint, verify_empty_root
from protocols.tlog.cosignature import (
    sign_checkpoint,
    sign_subtree,
    subtree_message,
    verify_cosignature,
    verify_signers,
    verify_subtree_cosignature,
)
from protocols.tlog.merkle import EMPTY_ROOT, Subtree
from protocols.tlog.note import Note, SignatureLine, VerifierKey

NOW = 1_795_305_600


@pytest.mark.parametrize("name", ["checkpoint.257", "log/checkpoint"])
def test_cosignatures_of_another_witness_verify(golden, name):
    # Made by transparency-dev/witness: two Ed25519 keys and one ML-DSA-44 key.
    keys = [VerifierKey.parse(line) for line in (golden / "vkeys.txt").read_text().split()]
    note = Note.decode((golden / name).read_bytes())
    checkpoint = Checkpoint.parse(note.text)
    signed = verify_signers(checkpoint, note, keys)
    assert list(signed) == keys
    times = [item.time for item in signed.values()]
    assert times[0] == 0
    assert len(set(times[1:])) == 1
    assert NOW - 10**6 < times[1] < NOW + 10**6
    other = Checkpoint(checkpoint.origin, checkpoint.size + 1, checkpoint.root)
    for key in keys:
        with pytest.raises(InvalidProofError, match="does not hold"):
            verify_cosignature(other, note.lines_of(key)[0], key)


@pytest.fixture(params=["witness_signer", "ml_dsa_signer"])
def signer(request):
    return request.getfixturevalue(request.param)


def test_cosignature_holds_and_gives_its_time(signer, make_checkpoint):
    checkpoint, _ = make_checkpoint(300)
    line = sign_checkpoint(checkpoint, signer, NOW)
    assert verify_cosignature(checkpoint, line, signer.key) == NOW


def test_cosignature_does_not_hold_for_anything_else(signer, make_checkpoint):
    checkpoint, _ = make_checkpoint(300)
    line = sign_checkpoint(checkpoint, signer, NOW)
    later = (NOW + 1).to_bytes(8, "big") + line.signature[8:]
    cut = line.signature[:-1]
    for signature in (later, cut, line.signature + b"\0", line.signature[:8], b"short"):
        with pytest.raises(InvalidProofError):
            verify_cosignature(
                checkpoint, SignatureLine(line.name, line.key_id, signature), signer.key
            )
    for other in (make_checkpoint(301)[0], make_checkpoint(300, origin="other.example")[0]):
        with pytest.raises(InvalidProofError):
            verify_cosignature(other, line, signer.key)


def test_time_beyond_63_bits_is_refused(signer, make_checkpoint):
    checkpoint, _ = make_checkpoint(300)
    line = SignatureLine(signer.name, signer.key.key_id, b"\xff" * 8 + b"x" * 64)
    with pytest.raises(InvalidProofError, match="past 2"):
        verify_cosignature(checkpoint, line, signer.key)
    for now in (0, -1, 2**63):
        with pytest.raises(ValueError, match="time"):
            sign_checkpoint(checkpoint, signer, now)


def test_latest_of_two_times_counts(signer, make_checkpoint):
    checkpoint, note = make_checkpoint(300)
    lines = [sign_checkpoint(checkpoint, signer, now) for now in (NOW, NOW + 5, NOW + 2)]
    found = verify_signers(checkpoint, note.with_signatures(lines), [signer.key])
    assert found[signer.key].time == NOW + 5
    assert found[signer.key].line == lines[1]


def test_ed25519_signs_extension_lines_and_ml_dsa_does_not(
    witness_signer, ml_dsa_signer, make_checkpoint
):
    plain, _ = make_checkpoint(300)
    extended, _ = make_checkpoint(300, extensions=("more",))
    with pytest.raises(InvalidProofError):
        verify_cosignature(
            extended, sign_checkpoint(plain, witness_signer, NOW), witness_signer.key
        )
    line = sign_checkpoint(plain, ml_dsa_signer, NOW)
    assert verify_cosignature(extended, line, ml_dsa_signer.key) == NOW


def test_ml_dsa_commits_to_the_name(ml_dsa_signer, make_checkpoint):
    checkpoint, _ = make_checkpoint(300)
    line = sign_checkpoint(checkpoint, ml_dsa_signer, NOW)
    renamed = VerifierKey("other.example", ml_dsa_signer.kind, ml_dsa_signer.key.public)
    with pytest.raises(InvalidProofError):
        verify_cosignature(checkpoint, line, renamed)


def test_ml_dsa_message_is_laid_out_as_specified():
    # C2SP tlog-cosignature, cosigned_message: label, name, time, origin, start, end, hash.
    message = subtree_message("w", 7, "log", Subtree(0, 5, b"h" * 32))
    expected = b"subtree/v1\n\0" + b"\x01w" + (7).to_bytes(8, "big") + b"\x03log"
    assert message == expected + bytes(8) + (5).to_bytes(8, "big") + b"h" * 32


def test_subtree_is_signed_without_a_time(ml_dsa_signer, witness_signer):
    part = Subtree(256, 300, b"h" * 32)
    line = sign_subtree("log.example", part, ml_dsa_signer)
    verify_subtree_cosignature("log.example", part, line, ml_dsa_signer.key)
    for origin, other in (
        ("other.example", part),
        ("log.example", Subtree(0, 300, b"h" * 32)),
        ("log.example", Subtree(256, 299, b"h" * 32)),
        ("log.example", Subtree(255, 300, b"h" * 32)),
        ("log.example", Subtree(256, 300, b"g" * 32)),
        ("", part),
    ):
        with pytest.raises(InvalidProofError):
            verify_subtree_cosignature(origin, other, line, ml_dsa_signer.key)
    with pytest.raises(ValueError, match="only ML-DSA"):
        sign_subtree("log.example", part, witness_signer)
    for bad in (Subtree(1, 3, b"h" * 32), Subtree(0, 3, b"h")):
        with pytest.raises(ValueError, match="subtree"):
            sign_subtree("log.example", bad, ml_dsa_signer)


def test_checkpoint_is_no_subtree_without_a_time(ml_dsa_signer, make_checkpoint):
    checkpoint, _ = make_checkpoint(300)
    line = sign_checkpoint(checkpoint, ml_dsa_signer, NOW)
    part = Subtree(0, 300, checkpoint.root)
    with pytest.raises(InvalidProofError, match="a time"):
        verify_subtree_cosignature(checkpoint.origin, part, line, ml_dsa_signer.key)


def test_long_origin_cannot_be_signed_by_ml_dsa(ml_dsa_signer):
    checkpoint = Checkpoint("o" * 256, 1, b"r" * 32)
    line = SignatureLine(ml_dsa_signer.name, ml_dsa_signer.key.key_id, b"\0" * 8 + b"x" * 2420)
    with pytest.raises(InvalidProofError, match="origin too long"):
        verify_cosignature(checkpoint, line, ml_dsa_signer.key)


ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
TEXT = f"example.com/behind-the-sofa\n20852163\n{ROOT}\n"


def test_example_of_the_checkpoint_specification_is_read():
    found = Checkpoint.parse(TEXT)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.format() == TEXT
    assert Checkpoint.parse(TEXT + "extension\n").extensions == ("extension",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        TEXT[:-1],
        TEXT + "\n",
        "\n" + TEXT,
        TEXT.replace("20852163", "020852163"),
        TEXT.replace("20852163", "+20852163"),
        TEXT.replace("20852163", " 20852163"),
        TEXT.replace("20852163", "-1"),
        TEXT.replace("20852163", ""),
        TEXT.replace("20852163", "٣"),
        TEXT.replace("20852163", "9223372036854775808"),
        TEXT.replace("20852163", "1" * 5000),
        TEXT.replace("q2I=", "q2J="),
        TEXT.replace("q2I=", "q2I"),
        TEXT.replace(ROOT, "AAAA"),
        TEXT.replace(ROOT + "\n", ""),
        TEXT.replace("sofa", "so\tfa"),
    ],
)
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(MalformedMessageError):
        Checkpoint.parse(text)


def test_checkpoint_that_could_not_be_read_back_is_not_made():
    for fields in (("", 1, b"r" * 32), ("a\nb", 1, b"r" * 32), ("a", -1, b"r" * 32)):
        with pytest.raises(ValueError, match="checkpoint"):
            Checkpoint(*fields)
    with pytest.raises(ValueError, match="checkpoint"):
        Checkpoint("a", 1, b"r")
    with pytest.raises(ValueError, match="checkpoint"):
        Checkpoint("a", 1, b"r" * 32, ("",))


def test_empty_tree_has_one_root():
    verify_empty_root(Checkpoint("a", 0, EMPTY_ROOT))
    verify_empty_root(Checkpoint("a", 1, b"r" * 32))
    with pytest.raises(InvalidProofError, match="size 0"):
        verify_empty_root(Checkpoint("a", 0, b"r" * 32))
