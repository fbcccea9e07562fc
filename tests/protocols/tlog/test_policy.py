"""Policies and proof files: the golden log's, the example of the specification, quorums."""

import itertools

import pytest

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint
from protocols.tlog.merkle import prove_inclusion, verify_consistency
from protocols.tlog.note import KeyKind, Note, SignatureLine, Signer
from protocols.tlog.policy import Group, Log, Policy, Witness
from protocols.tlog.proof import LogProof, verify_proof

NOW = 1_795_305_600


@pytest.fixture(scope="module")
def policy(golden):
    return Policy.decode((golden / "policy.txt").read_bytes())


@pytest.mark.parametrize("index", [0, 255, 256, 599])
def test_golden_proof_holds_for_its_entry_alone(golden, policy, index):
    data = (golden / f"entry{index}.tlog-proof").read_bytes()
    proof = LogProof.decode(data)
    assert proof.index == index
    assert proof.encode() == data
    entry = (golden / f"entry{index}.bin").read_bytes()
    witnessed = verify_proof(proof, entry, policy)
    assert witnessed.checkpoint.size == 600
    assert list(witnessed.times) == ["W0", "W1", "W2"]
    with pytest.raises(InvalidProofError, match="does not lead to the root"):
        verify_proof(proof, entry + b" ", policy)
    moved = LogProof(index ^ 1, proof.hashes, proof.note)
    with pytest.raises(InvalidProofError):
        verify_proof(moved, entry, policy)


def test_golden_consistency_holds_between_witnessed_checkpoints(golden, policy):
    found = [
        policy.verify(Note.decode((golden / name).read_bytes())).checkpoint
        for name in ("checkpoint.257", "log/checkpoint")
    ]
    lines = (golden / "consistency_257_600.txt").read_text().split()
    request = "old 257\n" + "".join(f"{line}\n" for line in lines)
    # The proof's lines are spelled as in a request to a witness.
    proof = LogProof.decode(
        request.replace("old", "c2sp.org/tlog-proof@v1\nindex").encode()
        + b"\n"
        + (golden / "log/checkpoint").read_bytes()
    ).hashes
    verify_consistency(257, 600, proof, found[0].root, found[1].root)


def without(note, *names):
    return Note(note.text, tuple(line for line in note.signatures if line.name not in names))


def test_quorum_is_two_of_three(golden, policy):
    note = Note.decode((golden / "log/checkpoint").read_bytes())
    names = [witness.key.name for witness in policy.witnesses]
    for name in names:
        assert len(policy.verify(without(note, name)).times) == 2
    for pair in itertools.combinations(names, 2):
        with pytest.raises(InvalidProofError, match="1 of 3 witnesses"):
            policy.verify(without(note, *pair))


def test_cosignatures_do_not_stand_in_for_the_log(golden, policy):
    note = Note.decode((golden / "log/checkpoint").read_bytes())
    with pytest.raises(InvalidProofError, match="not signed by a log"):
        policy.verify(without(note, policy.logs[0].key.name))


def test_one_bad_line_of_a_witness_spoils_the_note(golden, policy):
    note = Note.decode((golden / "log/checkpoint").read_bytes())
    key = policy.witnesses[0].key
    bad = SignatureLine(key.name, key.key_id, bytes(8) + b"x" * 64)
    with pytest.raises(InvalidProofError, match="does not hold"):
        policy.verify(without(note, key.name).with_signatures([bad]))


def witness(name, kind=KeyKind.COSIGNATURE):
    return Signer.from_seed(f"{name}.example", kind, name.encode().ljust(32, b"."))


X1, X2, X3, Y1, Y2, Y3 = (witness(name) for name in ("X1", "X2", "X3", "Y1", "Y2", "Y3"))
LOG = Signer.from_seed("log.example", KeyKind.ED25519, b"l" * 32)
EXAMPLE = f"""
  # The example of the specification, with a comment,\tspaces and tabs.
log\t{LOG.key.format()}   https://log.example/

witness X1 {X1.key.format()}
witness X2 {X2.key.format()} https://x2.example/
witness X3 {X3.key.format()}
group X-witnesses 2 X1 X2 X3
witness Y1 {Y1.key.format()}
witness Y2 {Y2.key.format()}
witness Y3 {Y3.key.format()}
group Y-witnesses any Y1 Y2 Y3
 group X-and-Y  all X-witnesses Y-witnesses\t
quorum X-and-Y
"""


def test_example_of_the_specification_is_read():
    policy = Policy.decode(EXAMPLE.encode())
    assert policy.logs == (Log(LOG.key, "https://log.example/"),)
    assert policy.witnesses[1] == Witness("X2", X2.key, "https://x2.example/")
    assert policy.groups[0] == Group("X-witnesses", 2, ("X1", "X2", "X3"))
    assert policy.groups[2] == Group("X-and-Y", 2, ("X-witnesses", "Y-witnesses"))
    assert Policy.decode(policy.encode()) == policy


def test_groups_of_groups_count_as_defined():
    policy = Policy.decode(EXAMPLE.encode())
    names = [item.name for item in policy.witnesses]
    for size in range(7):
        for chosen in itertools.combinations(names, size):
            found = {name for name in chosen if name[0] == "X"}, set(chosen)
            enough = len(found[0]) >= 2 and len(found[1] - found[0]) >= 1
            assert policy.is_quorum(dict.fromkeys(chosen, 1)) is enough


def test_checkpoint_counts_each_witness_once():
    policy = Policy.decode(EXAMPLE.encode())
    checkpoint = Checkpoint("log.example", 5, b"r" * 32)
    signed = [sign_checkpoint(checkpoint, LOG, NOW)]
    signed += [sign_checkpoint(checkpoint, X1, NOW + step) for step in range(5)]
    signed += [sign_checkpoint(checkpoint, Y1, NOW)]
    with pytest.raises(InvalidProofError, match="2 of 6 witnesses"):
        policy.verify(Note(checkpoint.format(), tuple(signed)))
    signed.append(sign_checkpoint(checkpoint, X3, NOW + 9))
    found = policy.verify(Note(checkpoint.format(), tuple(signed)))
    assert found.times == {"X1": NOW + 4, "X3": NOW + 9, "Y1": NOW}


def test_log_does_not_speak_for_another_log():
    other = Signer.from_seed("other.example", KeyKind.ED25519, b"o" * 32)
    policy = Policy((Log(LOG.key), Log(other.key)), (), (), "none")
    checkpoint = Checkpoint("log.example", 5, b"r" * 32)
    text = checkpoint.format()
    policy.verify(Note(text, (sign_checkpoint(checkpoint, LOG, NOW),)))
    with pytest.raises(InvalidProofError, match="not signed by a log"):
        policy.verify(Note(text, (sign_checkpoint(checkpoint, other, NOW),)))


def test_log_may_sign_with_ml_dsa(ml_dsa_signer):
    policy = Policy((Log(ml_dsa_signer.key),), (), (), "none")
    checkpoint = Checkpoint(ml_dsa_signer.name, 5, b"r" * 32)
    note = Note(checkpoint.format(), (sign_checkpoint(checkpoint, ml_dsa_signer, NOW),))
    assert policy.verify(note).times == {}


def test_empty_log_with_a_false_root_is_refused():
    policy = Policy((Log(LOG.key),), (), (), "none")
    checkpoint = Checkpoint("log.example", 0, b"r" * 32)
    with pytest.raises(InvalidProofError, match="size 0"):
        policy.verify(Note(checkpoint.format(), (sign_checkpoint(checkpoint, LOG, NOW),)))


def test_note_that_is_no_checkpoint_is_malformed():
    policy = Policy((Log(LOG.key),), (), (), "none")
    with pytest.raises(MalformedMessageError):
        policy.verify(Note("text\n", (SignatureLine("a", b"1234", b"s"),)))


LOG_LINE = f"log {LOG.key.format()}\n"
X1_LINE, X2_LINE = (
    f"witness {name} {signer.key.format()}\n" for name, signer in (("X1", X1), ("X2", X2))
)
SAME_KEY = Signer("renamed.example", KeyKind.COSIGNATURE, X1.private).key.format()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        LOG_LINE,
        "quorum none",
        "quorum none\nquorum none\n",
        "quorum\n",
        "quorum X1\n",
        "quorum none none\n",
        "quorum X1\n" + X1_LINE,
        "quorum none\r\n",
        "quorum none\x00\n",
        "quorum\x0bnone\n",
        "quorum none\x7f\n",
        "other line\nquorum none\n",
        "Quorum none\n",
        LOG_LINE * 2 + "quorum none\n",
        LOG_LINE[:-1] + " url second\nquorum none\n",
        X1_LINE * 2 + "quorum X1\n",
        X1_LINE + f"witness X2 {SAME_KEY}\nquorum X1\n",
        X1_LINE + X2_LINE.replace(" X2 ", " X1 ") + "quorum X1\n",
        X1_LINE.replace(" X1 ", " none ") + "quorum none\n",
        X1_LINE.replace("witness X1", "log") + "quorum none\n",
        LOG_LINE.replace("log", "witness X1") + "quorum X1\n",
        X1_LINE.replace("+B", "+C") + "quorum X1\n",
        X1_LINE + "group G 1\nquorum G\n",
        X1_LINE + "group G 0 X1\nquorum G\n",
        X1_LINE + "group G 2 X1\nquorum G\n",
        X1_LINE + "group G 01 X1\nquorum G\n",
        X1_LINE + "group G +1 X1\nquorum G\n",
        X1_LINE + "group G most X1\nquorum G\n",
        X1_LINE + "group G any X1 X1\nquorum G\n",
        X1_LINE + "group G any none\nquorum G\n",
        X1_LINE + "group none any X1\nquorum none\n",
        X1_LINE + "group X1 any X1\nquorum X1\n",
        X1_LINE + "group G any G\nquorum G\n",
        X1_LINE + "group G any X2\n" + X2_LINE + "quorum G\n",
        X1_LINE + X2_LINE + "group G any X1\ngroup H any X1 X2\nquorum H\n",
        X1_LINE + X2_LINE + "group G any X1\ngroup H all G X1\nquorum H\n",
        "#\n" * 1000 + "quorum none\n",
    ],
)
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(MalformedMessageError, match=r"policy|verifier key"):
        Policy.decode(text.encode())


def test_names_are_opaque_bytes():
    kelvin = X1_LINE.encode().replace(b" X1 ", b" \xe2\x84\xaa ")
    plain = X2_LINE.encode().replace(b" X2 ", b" K ")
    latin = kelvin.replace(b"\xe2\x84\xaa", b"\xff\xa0")
    for line, name in ((kelvin, b"\xe2\x84\xaa"), (latin, b"\xff\xa0")):
        data = line + plain + b"group G any " + name + b"\nquorum G\n"
        policy = Policy.decode(data)
        assert Policy.decode(policy.encode()) == policy
        assert name in policy.encode()
    with pytest.raises(MalformedMessageError):
        Policy.decode(kelvin + b"quorum K\n")
    with pytest.raises(MalformedMessageError):
        Policy.decode(X1_LINE.encode().replace(b"X1.example", b"X1\xff.example") + b"quorum X1\n")


@pytest.mark.parametrize("count", [32, 200])
def test_large_policies_are_read(count):
    signers = [witness(f"W{number}") for number in range(count)]
    lines = [f"witness W{n} {signer.key.format()}" for n, signer in enumerate(signers)]
    lines.append("group G0 any W0")
    lines += [f"group G{n} all G{n - 1} W{n}" for n in range(1, count)]
    text = "".join(f"{line}\n" for line in [*lines, f"quorum G{count - 1}"])
    policy = Policy.decode(text.encode())
    names = {f"W{number}": 1 for number in range(count)}
    assert policy.is_quorum(names)
    names.pop("W7")
    assert not policy.is_quorum(names)


def test_proof_with_extra_data_survives(log, make_checkpoint):
    checkpoint, note = make_checkpoint(7)
    hashes = tuple(prove_inclusion(3, 7, log.node))
    for extra in (None, b"", b"out of band"):
        proof = LogProof(3, hashes, note, extra)
        assert LogProof.decode(proof.encode()) == proof
    log_key = Signer.from_seed(checkpoint.origin, KeyKind.ED25519, b"l" * 32).key
    policy = Policy((Log(log_key),), (), (), "none")
    assert verify_proof(proof, log.entries[3], policy).checkpoint == checkpoint


def test_what_is_no_proof_is_refused(golden):
    text = (golden / "entry0.tlog-proof").read_text()
    for bad in (
        "",
        text.replace("@v1", "@v2"),
        text.replace("index 0", "index 00"),
        text.replace("index 0", "index -1"),
        text.replace("index 0", "index"),
        text.replace("index 0\n", ""),
        text.replace("index 0", "extra !\nindex 0"),
        text.replace("index 0", "extra AAAA\nextra AAAA\nindex 0"),
        text.replace("index 0", "index 0\nextra AAAA"),
        text.replace("index 0", "index 0\nAAAA"),
        text.replace("index 0\n", "index 0\n" + text.split("\n")[2] * 2 + "\n"),
        text.replace("index 0\n", "index 0\n" + (text.split("\n")[2] + "\n") * 60),
        text.replace("index 0\n", "index 0\n\n"),
        text.replace("\n\n", "\n", 1),
        text.replace("\n", "\r\n"),
        "\n" + text,
        text + "\n",
    ):
        with pytest.raises(MalformedMessageError):
            LogProof.decode(bad.encode())
    with pytest.raises(MalformedMessageError, match="at most"):
        LogProof.decode(text.encode() + b"x" * (2 << 20))
