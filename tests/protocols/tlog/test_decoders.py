"""Every decoder: round trips, every truncation, trailing bytes, any bytes at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.lines import MAX_SIZE, format_base64, parse_base64, parse_decimal
from protocols.tlog.note import KeyKind, Note, SignatureLine, Signer, VerifierKey, sign_note
from protocols.tlog.policy import Group, Log, Policy, Witness
from protocols.tlog.proof import LogProof
from protocols.tlog.witness import AddCheckpoint

LOG = Signer.from_seed("log.example", KeyKind.ED25519, b"l" * 32)
SEEN = [Signer.from_seed(f"w{n}.example", KeyKind.COSIGNATURE, bytes([n]) * 32) for n in (1, 2)]
CHECKPOINT = Checkpoint("log.example", 300, b"r" * 32)
NOTE = Note(CHECKPOINT.format(), (sign_note(CHECKPOINT.format(), LOG),))
POLICY = Policy(
    (Log(LOG.key, "https://log.example/"),),
    (Witness("one", SEEN[0].key), Witness("二", SEEN[1].key, "https://w2.example/")),
    (Group("all-of-them", 2, ("one", "二")),),
    "all-of-them",
)


class Text:
    """A parser of text as a decoder of bytes; bytes that are no text are malformed."""

    def __init__(self, kind):
        self.kind = kind

    def __call__(self, data):
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise MalformedMessageError("not utf-8") from error
        return self.kind.parse(text)


CASES = [
    (NOTE, Note.decode, Note.encode),
    (CHECKPOINT, Text(Checkpoint), lambda value: value.format().encode()),
    (LOG.key, Text(VerifierKey), lambda value: value.format().encode()),
    (LogProof(7, (b"h" * 32,) * 3, NOTE, b"extra"), LogProof.decode, LogProof.encode),
    (AddCheckpoint(257, (b"h" * 32,) * 3, NOTE), AddCheckpoint.decode, AddCheckpoint.encode),
    (POLICY, Policy.decode, Policy.encode),
]
every_case = pytest.mark.parametrize(
    ("value", "decode", "encode"), CASES, ids=lambda item: type(item).__name__
)


@every_case
def test_value_survives_the_wire(value, decode, encode):
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data


@every_case
def test_cut_or_longer_text_is_refused(value, decode, encode):
    data = encode(value)
    for size in range(len(data)):
        with pytest.raises(MalformedMessageError):
            decode(data[:size])
    for more in (b"\0", b"\xff", b"x"):
        with pytest.raises(MalformedMessageError):
            decode(data + more)


@every_case
@given(st.data())
def test_any_bytes_are_a_value_or_malformed(value, decode, encode, data):
    good = encode(value)
    at, on = data.draw(st.integers(0, len(good))), data.draw(st.integers(0, len(good)))
    middle = data.draw(st.binary(max_size=8) | st.sampled_from([b"\n", b" ", b"0", b"=", b"+"]))
    for given_bytes in (good[:at] + middle + good[on:], data.draw(st.binary(max_size=200))):
        try:
            found = decode(given_bytes)
        except MalformedMessageError:
            continue
        # A policy's comments and spaces are not kept; all others have one spelling.
        assert decode(encode(found)) == found
        assert isinstance(found, Policy) or encode(found) == given_bytes


LINE_TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1)
KEY_NAME = LINE_TEXT.filter(lambda text: "+" not in text and not any(map(str.isspace, text)))


@given(
    LINE_TEXT, st.integers(0, MAX_SIZE), st.binary(min_size=32, max_size=32), st.lists(LINE_TEXT)
)
def test_every_checkpoint_survives(origin, size, root, extensions):
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    assert Checkpoint.parse(checkpoint.format()) == checkpoint


@given(
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n")),
    st.lists(
        st.tuples(KEY_NAME, st.binary(min_size=4, max_size=4), st.binary(min_size=1)),
        min_size=1,
        max_size=4,
    ),
)
def test_every_note_survives(text, lines):
    note = Note(text + "\n", tuple(SignatureLine(*line) for line in lines))
    assert Note.decode(note.encode()) == note


@given(
    KEY_NAME,
    st.sampled_from([KeyKind.ED25519, KeyKind.COSIGNATURE]),
    st.binary(min_size=32, max_size=32),
)
def test_every_key_survives(name, kind, public):
    key = VerifierKey(name, kind, public)
    assert VerifierKey.parse(key.format()) == key


@given(st.binary(max_size=40))
def test_base64_has_one_spelling(data):
    text = format_base64(data)
    assert parse_base64(text, "test") == data
    for bad in (text + "\n", text + "=", " " + text, text.replace("=", ""), text + "A"):
        if bad != text:
            with pytest.raises(MalformedMessageError):
                parse_base64(bad, "test")


@given(st.text(alphabet="0123456789 +-_\n٣", max_size=21))
def test_decimal_has_one_spelling(text):
    try:
        assert str(parse_decimal(text, "test")) == text
    except MalformedMessageError:
        assert not text.isascii() or not text.isdigit() or text != str(int(text)) or len(text) > 18
