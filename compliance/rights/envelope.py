"""A sealed letter from one organisation to another, which whoever carries it cannot read.

    letter  = magic || ephemeral X25519 key (32) || ciphertext
    plain   = sender || body || signature, padded to 1 KiB
    key     = HKDF-SHA-256(X25519(ephemeral, recipient), context)

The recipient's X25519 key is that of its pinned Ed25519 identity: the two curves are the same
up to a change of coordinates, so no further key has to be pinned. The sender's signature is
inside, and covers the recipient's name and the ephemeral key, so that a recipient cannot pass
the letter on as if it were sent to another.

Privacy:
    The carrier learns how many KiB it has, nothing of sender, subject or person. There is no
    forward secrecy towards the recipient: who takes its identity key later can open letters
    that it kept. Letters are therefore deleted once they are taken in.

Source:
    RFC 7748, section 4.1 (birational map) and 6.1; RFC 8032, section 5.1.5; RFC 5869; RFC 8439.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha512

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.codec import Reader, Writer
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.lookup.signing import SIGNATURE_SIZE, check_name, check_size, sign, verify
from protocols.seal.fields import join_fields

MAGIC = b"lianfang-letter-1\n"
MAX_BODY = 64 << 10
_DOMAIN = b"lianfang/rights/letter/v1"
_PRIME = 2**255 - 19
_KEY_SIZE = 32
_PAD = 1024
_SUBJECT = "letter"


def seal_letter(
    body: bytes,
    *,
    sender: str,
    identity: Ed25519PrivateKey,
    recipient: str,
    theirs: Ed25519PublicKey,
    random: Callable[[int], bytes],
) -> bytes:
    """Return the letter."""
    if len(body) > MAX_BODY:
        raise ValueError(f"letter: {len(body)} bytes, at most {MAX_BODY}")
    ephemeral = X25519PrivateKey.from_private_bytes(random(_KEY_SIZE))
    public = ephemeral.public_key().public_bytes_raw()
    context = _context(recipient, theirs, public)
    signature = sign(identity, _DOMAIN, join_fields(sender.encode(), context, body))
    plain = Writer().text(sender).block(body).block(signature).encode()
    plain = Writer().block(plain).encode()
    plain += bytes(-len(plain) % _PAD)
    key = _key(ephemeral.exchange(exchange_public(theirs)), context)
    return MAGIC + public + ChaCha20Poly1305(key).encrypt(bytes(12), plain, context)


def open_letter(
    letter: bytes,
    *,
    recipient: str,
    identity: Ed25519PrivateKey,
    identities: Mapping[str, Ed25519PublicKey],
) -> tuple[str, bytes]:
    """Return the sender, whose key is pinned here, and the body.

    Raises:
        MalformedMessageError: it is no letter.
        InvalidProofError: it is not to us, was altered, or is not by a pinned sender.
    """
    start = len(MAGIC) + _KEY_SIZE
    if not letter.startswith(MAGIC) or not start < len(letter) <= MAX_BODY + 4 * _PAD:
        raise MalformedMessageError(f"{_SUBJECT}: not a sealed letter, or of another version")
    public = letter[len(MAGIC) : start]
    context = _context(recipient, identity.public_key(), public)
    try:
        shared = exchange_private(identity).exchange(X25519PublicKey.from_public_bytes(public))
        plain = ChaCha20Poly1305(_key(shared, context)).decrypt(bytes(12), letter[start:], context)
    except (InvalidTag, ValueError) as error:
        raise InvalidProofError(f"{_SUBJECT}: is not sealed to {recipient}, or altered") from error
    reader = Reader(Reader(plain, _SUBJECT).block(), _SUBJECT)
    sender, body, signature = reader.text(), reader.block(), reader.block()
    reader.finish()
    check_name(sender, f"{_SUBJECT}: sender")
    check_size(signature, SIGNATURE_SIZE, f"{_SUBJECT}: signature")
    if sender not in identities:
        raise InvalidProofError(f"{_SUBJECT}: its sender is not pinned here")
    signed = join_fields(sender.encode(), context, body)
    verify(identities[sender], _DOMAIN, signed, signature, f"{_SUBJECT} of {sender}")
    return sender, body


def exchange_public(identity: Ed25519PublicKey) -> X25519PublicKey:
    """Return the X25519 form of a public identity key: u = (1 + y) / (1 - y).

    Raises:
        InvalidProofError: the key is a point of low order, to which nothing may be sealed.
    """
    y = int.from_bytes(identity.public_bytes_raw(), "little") & (2**255 - 1)
    if (1 - y) % _PRIME == 0:
        raise InvalidProofError(f"{_SUBJECT}: identity key of low order")
    u = (1 + y) * pow(1 - y, -1, _PRIME) % _PRIME
    return X25519PublicKey.from_public_bytes(u.to_bytes(_KEY_SIZE, "little"))


def exchange_private(identity: Ed25519PrivateKey) -> X25519PrivateKey:
    """Return the X25519 form of a private identity key: its scalar before the clamping."""
    return X25519PrivateKey.from_private_bytes(
        sha512(identity.private_bytes_raw()).digest()[:_KEY_SIZE]
    )


def _context(recipient: str, theirs: Ed25519PublicKey, ephemeral: bytes) -> bytes:
    return join_fields(_DOMAIN, recipient.encode(), theirs.public_bytes_raw(), ephemeral)


def _key(shared: bytes, context: bytes) -> bytes:
    # One key per letter: the ephemeral key is in the context, so the nonce may be constant.
    return HKDF(SHA256(), _KEY_SIZE, salt=None, info=context).derive(shared)
