"""Evaluation under a key that nobody holds: any t of n holders answer, the client combines.

    client                                holder i = 1..n, each with k_i
    B = r H(x)          -- request -->    Z_i = k_i B, proof against its public share
    check each proof    <-- answer --
    Z = sum c_j Z_j  (Lagrange), y = hash(x, Z / r)

The output equals that of RFC 9497 under the whole key. A proof is bound to key, epoch,
request, holder and batch, so that an answer serves nothing else (see `dleq`).

Specification: RFC 9497, sections 2.2 and 3.3.2, for every share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha512

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.group.encoding import encode_scalar
from protocols.group.interface import Group
from protocols.oprf import client, dleq
from protocols.oprf.errors import (
    ReplayedMessageError,
    TooFewHoldersError,
    WrongEpochError,
    WrongShareError,
)
from protocols.oprf.holder import EvaluationKey, blind_evaluate, prove_evaluation
from protocols.oprf.messages import REQUEST_ID_SIZE, EvaluationAnswer, EvaluationRequest
from protocols.oprf.records import KeyRecord, KeyShare
from protocols.oprf.shares import interpolate, lagrange_weights, small_sum
from protocols.oprf.suite import Random, Suite

_BINDING = b"lianfang/oprf/answer/v1"


def verify_record(group: Group, record: KeyRecord) -> None:
    """Return only if the public shares belong to the public key.

    Any t of them must give the key, which holds exactly if the first t give the key and
    every other share. Without this a forged manifest could pair honest holders with a key
    that they do not hold.

    Raises:
        MalformedMessageError: an element is not canonical or is the identity.
        WrongShareError: the shares lie on no common polynomial with the key.
    """
    group.check_elements(record.public, "public key")
    group.check_elements(b"".join(record.public_shares), "public shares")
    first = range(1, record.threshold + 1)
    known = b"".join(record.public_shares[: record.threshold])
    if interpolate(group, first, known) != record.public:
        raise WrongShareError("key record: public shares do not give the public key")
    for index in range(record.threshold + 1, len(record.holders) + 1):
        if interpolate(group, first, known, at=index) != record.public_shares[index - 1]:
            raise WrongShareError(f"key record: public share {index} does not fit the others")


def load_share(group: Group, data: bytes) -> KeyShare:
    """Read a holder's share and check that it is the one its record promises.

    Raises:
        MalformedMessageError: the bytes do not decode.
        WrongShareError: secret and public share differ: an old file, or another holder's.
    """
    share = KeyShare.decode(data)
    verify_record(group, share.record)
    if group.multiply_base(share.scalar) != share.record.public_shares[share.index - 1]:
        raise WrongShareError(f"key share: does not match public share {share.index}")
    return share


def answer_request(
    suite: Suite, share: KeyShare, request: EvaluationRequest, random: Random
) -> EvaluationAnswer:
    """Evaluate a request with one share and prove it.

    Raises:
        WrongEpochError: the request is for another epoch, key or generation of shares.
        MalformedMessageError: an element is not canonical or is the identity.

    Privacy:
        The blinded elements tell nothing of the inputs. The answer gives one evaluation
        per element towards the client's output; the caller charges and logs it before.
    """
    record = share.record
    _require_key(record, request.epoch, request.key_id, "request")
    key = EvaluationKey(share.scalar, record.public_shares[share.index - 1])
    evaluated = blind_evaluate(suite, key, request.blinded)
    binding = _bind(request, share.index, evaluated)
    proof = prove_evaluation(suite, key, request.blinded, evaluated, random=random, binding=binding)
    return EvaluationAnswer(
        request.epoch, request.key_id, request.request_id, share.index, evaluated, proof
    )


class Query:
    """The client's side of one request: holds the blinds, admits answers, gives outputs.

    A refused answer changes nothing: the query goes on with the other holders.
    """

    def __init__(
        self,
        suite: Suite,
        record: KeyRecord,
        inputs: Sequence[bytes],
        blinds: bytes,
        request_id: bytes,
    ) -> None:
        if len(request_id) != REQUEST_ID_SIZE:
            raise UnsupportedParameterError(
                f"request id: {len(request_id)} bytes, need {REQUEST_ID_SIZE}"
            )
        self._suite = suite
        self._record = record
        self._inputs = tuple(inputs)
        self._blinds = blinds
        self._answers: dict[int, bytes] = {}
        blinded = client.blind(suite, inputs, blinds)
        self.request = EvaluationRequest(record.epoch, record.key_id, request_id, blinded)

    def receive(self, answer: EvaluationAnswer) -> str:
        """Check one holder's answer and keep it; return the holder's name.

        Raises:
            WrongEpochError: it was computed under another epoch, key or generation.
            ReplayedMessageError: it answers another request, or its holder has answered.
            WrongShareError: no such holder.
            MalformedMessageError: it has another number of elements, or one is refused.
            InvalidProofError: the holder did not use its share; names the holder.
        """
        _require_key(self._record, answer.epoch, answer.key_id, "answer")
        if answer.request_id != self.request.request_id:
            raise ReplayedMessageError("answer: belongs to another request")
        if not 1 <= answer.index <= len(self._record.holders):
            raise WrongShareError(f"answer: holder {answer.index} is not in the key record")
        name = self._record.holders[answer.index - 1]
        if answer.index in self._answers:
            raise ReplayedMessageError(f"answer: {name} has already answered this request")
        if len(answer.evaluated) != len(self.request.blinded):
            raise MalformedMessageError(
                f"answer of {name}: {len(answer.evaluated)} bytes of elements, "
                f"expected {len(self.request.blinded)}"
            )
        self._verify(name, answer)
        self._answers[answer.index] = answer.evaluated
        return name

    @property
    def is_ready(self) -> bool:
        """Whether enough holders have answered."""
        return len(self._answers) >= self._record.threshold

    def finish(self) -> list[bytes]:
        """Combine the answers and return the 64-byte outputs, in the order of the inputs.

        Raises:
            TooFewHoldersError: fewer than the threshold have answered.
        """
        if not self.is_ready:
            raise TooFewHoldersError(
                f"query: {len(self._answers)} holders have answered, need {self._record.threshold}"
            )
        chosen = sorted(self._answers)[: self._record.threshold]
        group = self._suite.group
        combined, denominator = combine_scaled(group, {i: self._answers[i] for i in chosen})
        # d Z / (d r) = Z / r, so the denominator costs a scalar product and no element work.
        blinds = group.scalar_multiply(encode_scalar(denominator), self._blinds)
        return client.finalize(self._suite, self._inputs, blinds, combined)

    def _verify(self, name: str, answer: EvaluationAnswer) -> None:
        try:
            dleq.verify(
                self._suite,
                public=self._record.public_shares[answer.index - 1],
                blinded=self.request.blinded,
                evaluated=answer.evaluated,
                proof=answer.proof,
                binding=_bind(self.request, answer.index, answer.evaluated),
            )
        except InvalidProofError as error:
            raise InvalidProofError(f"answer of {name}: {error}") from error


def combine_scaled(group: Group, parts: Mapping[int, bytes]) -> tuple[bytes, int]:
    """Combine verified evaluations of exactly t holders; return d Z and the integer d.

    `parts` holds evaluated elements, all of one length, by holder index.
    """
    indices = sorted(parts)
    weights, denominator = lagrange_weights(indices)
    return small_sum(group, weights, [parts[index] for index in indices]), denominator


def combine(group: Group, parts: Mapping[int, bytes]) -> bytes:
    """Combine verified evaluations of exactly t holders into those of the whole key."""
    combined, denominator = combine_scaled(group, parts)
    inverse = group.invert(encode_scalar(denominator))
    return group.multiply(inverse, combined, "evaluated elements")


def _require_key(record: KeyRecord, epoch: int, key_id: bytes, subject: str) -> None:
    if epoch != record.epoch:
        raise WrongEpochError(f"{subject}: epoch {epoch}, expected {record.epoch}")
    if key_id != record.key_id:
        raise WrongEpochError(f"{subject}: another key or generation of shares in epoch {epoch}")


def _bind(request: EvaluationRequest, index: int, evaluated: bytes) -> bytes:
    """Hash all that a proof must hold for; every field has a fixed size or comes last."""
    return sha512(_BINDING + bytes([index]) + request.encode() + evaluated).digest()
