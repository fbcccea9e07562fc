"""A witness: every answer of the specification, and that no two histories get its signature."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint, verify_cosignature
from protocols.tlog.errors import NotCosignedError
from protocols.tlog.merkle import (
    EMPTY_ROOT,
    hash_leaf,
    prove_consistency,
    root_of,
)
from protocols.tlog.note import KeyKind, Note, SignatureLine, Signer, sign_note
from protocols.tlog.witness import (
    SIZE_TYPE,
    TEXT_TYPE,
    AddCheckpoint,
    Cosigned,
    Head,
    Reason,
    Refused,
    decide,
    read_answer,
)

NOW = 1_795_305_600


@pytest.fixture
def ask(log, make_checkpoint, log_signer, witness_signer, ml_dsa_signer):
    """Ask a witness that holds the log at `held` to cosign it at `size`."""

    def run(held, size, *, old=None, proof=None, keys=(log_signer.key,), **fields):
        _, note = make_checkpoint(size, **fields)
        old = held if old is None else old
        if proof is None:
            proof = prove_consistency(old, size, log.node) if 0 < old <= size else []
        request = AddCheckpoint(old, tuple(proof), note)
        head = Head(held, root_of(log.leaves[:held]))
        signers = [witness_signer, ml_dsa_signer]
        assert AddCheckpoint.decode(request.encode()) == request
        return decide(
            request, keys=keys if keys is None else list(keys), head=head, signers=signers, now=NOW
        )

    return run


@pytest.mark.parametrize(
    "sizes", [(0, 0), (0, 1), (0, 300), (1, 1), (1, 2), (255, 257), (300, 300), (3, 600)]
)
def test_honest_growth_is_cosigned(ask, make_checkpoint, witness_signer, ml_dsa_signer, sizes):
    held, size = sizes
    outcome = ask(held, size)
    checkpoint, note = make_checkpoint(size)
    assert isinstance(outcome, Cosigned)
    assert outcome.head == Head(size, checkpoint.root)
    status, content_type, body = outcome.answer
    assert (status, content_type) == (200, TEXT_TYPE)
    keys = [witness_signer.key, ml_dsa_signer.key]
    lines = read_answer(status, content_type, body, note=note, keys=keys)
    assert tuple(lines) == outcome.lines
    assert [verify_cosignature(checkpoint, *pair) for pair in zip(lines, keys, strict=True)] == [
        NOW,
        NOW,
    ]
    assert outcome.note.signatures == (*note.signatures, *lines)


def refusal(outcome, reason, status, body=None):
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason
    assert outcome.answer[0] == status
    if body is not None:
        assert outcome.answer[1:] == (SIZE_TYPE, body)
    return outcome


def test_unknown_log_is_404(ask):
    refusal(ask(0, 5, keys=None), Reason.UNKNOWN_LOG, 404)


def test_checkpoint_without_a_trusted_signature_is_403(ask, log_signer):
    stranger = Signer.from_seed(log_signer.name, KeyKind.ED25519, b"s" * 32)
    refusal(ask(0, 5, signer=stranger), Reason.NOT_SIGNED, 403)
    refusal(ask(0, 5, keys=()), Reason.NOT_SIGNED, 403)
    # A stranger's line beside it, or one of a key that is rotating in, does no harm.
    assert isinstance(ask(0, 5, keys=(log_signer.key, stranger.key)), Cosigned)


def test_bad_line_of_a_trusted_key_is_403(make_checkpoint, log_signer, witness_signer):
    _, note = make_checkpoint(5)
    bad = SignatureLine(log_signer.name, log_signer.key.key_id, b"x" * 64)
    request = AddCheckpoint(0, (), note.with_signatures([bad]))
    outcome = decide(request, keys=[log_signer.key], head=Head(), signers=[witness_signer], now=NOW)
    refusal(outcome, Reason.NOT_SIGNED, 403)


def test_old_size_above_the_checkpoint_is_400(ask):
    refusal(ask(6, 5), Reason.OLD_SIZE_TOO_LARGE, 400)
    refusal(ask(0, 5, old=6), Reason.OLD_SIZE_TOO_LARGE, 400)


@pytest.mark.parametrize(("held", "old"), [(5, 0), (5, 4), (5, 6), (0, 3)])
def test_wrong_old_size_is_409_with_the_size(ask, held, old):
    refusal(ask(held, 9, old=old), Reason.STALE, 409, b"%d\n" % held)


def test_rollback_is_refused(ask):
    refusal(ask(9, 5, old=5), Reason.STALE, 409, b"9\n")
    refusal(ask(9, 5, old=9), Reason.OLD_SIZE_TOO_LARGE, 400)
    refusal(ask(9, 5, old=0), Reason.STALE, 409, b"9\n")


def test_other_root_at_the_same_size_is_a_fork(ask):
    refusal(ask(9, 9, root=hash_leaf(b"other")), Reason.FORK, 422)


def test_proof_that_does_not_hold_is_422(ask, log):
    good = prove_consistency(5, 9, log.node)
    for proof in ([], good[:-1], [*good, bytes(32)], good[::-1]):
        refusal(ask(5, 9, proof=proof), Reason.INCONSISTENT, 422)
    refusal(ask(5, 9, root=hash_leaf(b"other")), Reason.INCONSISTENT, 422)
    refusal(ask(5, 5, proof=[bytes(32)]), Reason.INCONSISTENT, 422)
    refusal(ask(0, 5, proof=[bytes(32)]), Reason.INCONSISTENT, 422)


def test_empty_log_with_a_false_root_is_422(ask):
    refusal(ask(0, 0, root=hash_leaf(b"x")), Reason.FORK, 422)
    assert ask(0, 0, root=EMPTY_ROOT).head == Head()


def test_order_of_refusals_is_that_of_the_specification(ask, log_signer):
    stranger = Signer.from_seed(log_signer.name, KeyKind.ED25519, b"s" * 32)
    refusal(ask(0, 5, old=6, signer=stranger, keys=None), Reason.UNKNOWN_LOG, 404)
    refusal(ask(0, 5, old=6, signer=stranger), Reason.NOT_SIGNED, 403)
    refusal(ask(3, 5, old=6), Reason.OLD_SIZE_TOO_LARGE, 400)
    refusal(ask(3, 5, old=2, proof=[bytes(32)]), Reason.STALE, 409, b"3\n")


def test_stored_note_does_not_grow_by_what_others_append(
    make_checkpoint, log_signer, witness_signer
):
    _, note = make_checkpoint(5)
    strangers = [SignatureLine(f"s{number}.example", b"1234", b"x") for number in range(99)]
    outcome = decide(
        AddCheckpoint(0, (), note.with_signatures(strangers)),
        keys=[log_signer.key],
        head=Head(),
        signers=[witness_signer],
        now=NOW,
    )
    assert outcome.note.signatures == (*note.signatures, *outcome.lines)


def test_many_signatures_of_one_log_key_are_kept_once(ml_dsa_signer, witness_signer):
    # ML-DSA signs differently each time, so one key can fill a note with good lines.
    checkpoint = Checkpoint(ml_dsa_signer.name, 5, b"r" * 32)
    lines = tuple(sign_checkpoint(checkpoint, ml_dsa_signer, NOW + n) for n in range(100))
    outcome = decide(
        AddCheckpoint(0, (), Note(checkpoint.format(), lines)),
        keys=[ml_dsa_signer.key],
        head=Head(),
        signers=[witness_signer],
        now=NOW,
    )
    assert outcome.note.signatures == (lines[-1], *outcome.lines)


@settings(max_examples=60)
@given(st.data())
def test_no_two_contradicting_trees_are_ever_cosigned(log_signer_for_rules, data):
    """A log with two histories asks in any order; what is cosigned stays one history."""
    signer, witness = log_signer_for_rules
    shared = data.draw(st.integers(0, 6))
    common = [hash_leaf(b"common %d" % n) for n in range(shared)]
    histories = [
        common + [hash_leaf(b"%s %d" % (name, n)) for n in range(12 - shared)]
        for name in (b"left", b"right")
    ]
    head, seen = Head(), []
    for _ in range(data.draw(st.integers(1, 12))):
        leaves = data.draw(st.sampled_from(histories))
        size = data.draw(st.integers(0, len(leaves)))
        old = data.draw(st.sampled_from([head.size, data.draw(st.integers(0, 12))]))
        outcome = decide(
            request_for(leaves, old, size, signer),
            keys=[signer.key],
            head=head,
            signers=[witness],
            now=NOW,
        )
        if isinstance(outcome, Cosigned):
            assert outcome.head.size >= head.size
            head = outcome.head
            seen.append(head)
    fits = [all(item.root == root_of(leaves[: item.size]) for item in seen) for leaves in histories]
    assert any(fits)


@pytest.fixture(scope="module")
def log_signer_for_rules():
    return (
        Signer.from_seed("log.example", KeyKind.ED25519, b"l" * 32),
        Signer.from_seed("witness.example", KeyKind.COSIGNATURE, b"w" * 32),
    )


def request_for(leaves, old, size, signer):
    def node(level, index):
        return root_of(leaves[index << level : (index + 1) << level])

    text = Checkpoint(signer.name, size, root_of(leaves[:size])).format()
    proof = prove_consistency(old, size, node) if 0 < old <= size else []
    return AddCheckpoint(old, tuple(proof), Note(text, (sign_note(text, signer),)))


BODY = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""  # noqa: E501 - the example of C2SP tlog-witness, as it stands there


def test_example_request_of_the_specification_is_read():
    found = AddCheckpoint.decode(BODY.encode())
    assert (found.old_size, len(found.proof), found.checkpoint.size) == (20852014, 4, 20852163)
    assert found.encode() == BODY.encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        BODY.replace("old ", ""),
        BODY.replace("old ", "old  "),
        BODY.replace("20852014", "020852014"),
        BODY.replace("20852014", "9223372036854775808"),
        BODY.replace("PlRN", "PlR"),
        BODY.replace("PlRN", "PlR\n"),
        BODY.replace("aw=\n", "aw=\n\n"),
        BODY.replace("\n\n", "\n", 1),
        BODY.replace("20852163\n", ""),
        BODY[:-1],
        BODY + "\n",
        "\n" + BODY,
        BODY.replace("\n", "\r\n"),
        BODY.replace("old 20852014\n", "old 20852014\n" + BODY.split("\n")[1].join("\n\n") * 60),
        "old 1\n" + (BODY.split("\n")[1] + "\n") * 64 + BODY[BODY.index("\n\n") + 1 :],
    ],
)
def test_what_is_no_request_is_refused(text):
    with pytest.raises(MalformedMessageError):
        AddCheckpoint.decode(text.encode())


def test_proof_may_have_63_hashes_and_a_body_has_a_limit():
    most = "old 1\n" + (BODY.split("\n")[1] + "\n") * 63 + BODY[BODY.index("\n\n") + 1 :]
    assert len(AddCheckpoint.decode(most.encode()).proof) == 63
    with pytest.raises(MalformedMessageError, match="at most"):
        AddCheckpoint.decode(b"x" * (2 << 20))


@pytest.mark.parametrize(
    ("answer", "known", "suspects"),
    [
        ((400, TEXT_TYPE, b""), None, False),
        ((403, TEXT_TYPE, b""), None, False),
        ((404, TEXT_TYPE, b""), None, False),
        ((409, SIZE_TYPE, b"7\n"), 7, False),
        ((409, "Text/X.Tlog.Size; charset=utf-8", b"0\n"), 0, False),
        ((409, TEXT_TYPE, b""), None, True),
        ((422, TEXT_TYPE, b"fork\n"), None, True),
        ((500, TEXT_TYPE, b"\xff"), None, False),
        ((204, TEXT_TYPE, b""), None, False),
    ],
)
def test_anything_but_200_is_not_cosigned(make_checkpoint, witness_signer, answer, known, suspects):
    _, note = make_checkpoint(5)
    with pytest.raises(NotCosignedError) as caught:
        read_answer(*answer, note=note, keys=[witness_signer.key])
    found = caught.value
    assert (found.status, found.known_size, found.suspects_fork) == (answer[0], known, suspects)


@pytest.mark.parametrize("body", [b"", b"7", b"07\n", b"7\n\n", b"x\n", b"\xff\n"])
def test_size_in_another_spelling_is_malformed(make_checkpoint, witness_signer, body):
    _, note = make_checkpoint(5)
    with pytest.raises(MalformedMessageError):
        read_answer(409, SIZE_TYPE, body, note=note, keys=[witness_signer.key])


def test_answer_without_our_witness_is_refused(ask, make_checkpoint, witness_signer, log_signer):
    _, note = make_checkpoint(5)
    body = ask(0, 5).answer[2]
    other = Signer.from_seed("other.example", KeyKind.COSIGNATURE, b"o" * 32)
    with pytest.raises(InvalidProofError, match="no signature of this witness"):
        read_answer(200, TEXT_TYPE, body, note=note, keys=[other.key])
    with pytest.raises(InvalidProofError, match="does not hold"):
        read_answer(200, TEXT_TYPE, body, note=make_checkpoint(6)[1], keys=[witness_signer.key])
    for bad in (b"", b"\n", body[:-1], body + b"\n", b"x" + body, body * 60, b"\xff\n"):
        with pytest.raises(MalformedMessageError):
            read_answer(200, TEXT_TYPE, bad, note=note, keys=[witness_signer.key])


@given(st.sampled_from([200, 409, 422]), st.sampled_from([SIZE_TYPE, ""]), st.binary(max_size=80))
def test_any_answer_is_refused_in_a_known_way(status, content_type, body):
    note = AddCheckpoint.decode(BODY.encode()).note
    with pytest.raises((NotCosignedError, MalformedMessageError, InvalidProofError)):
        read_answer(status, content_type, body, note=note, keys=[])


def test_request_that_could_not_be_read_back_is_not_made(make_checkpoint):
    _, note = make_checkpoint(5)
    for old, proof in ((-1, ()), (1, (bytes(32),) * 64), (1, (b"short",))):
        with pytest.raises(ValueError, match="request"):
            AddCheckpoint(old, proof, note)
