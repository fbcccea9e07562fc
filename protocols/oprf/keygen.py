"""Make a key that nobody holds, and refresh its shares: party programs of the holders.

Each holder deals a random polynomial; the key is the sum of their values at zero.

    1  everyone -> all    hash of its opening
    2  everyone -> all    opening: commitments, proof that it knows its value at zero
    3  dealer i -> j      share f_i(j), checked against the opening of i
    4  everyone -> all    verdict: hash of all openings, dealers whose share was wrong
    5  blamed   -> all    the disputed share: if it is wrong, all know who is at fault

Step 1 keeps the last to speak from choosing its opening by the others' (a rogue key);
the proof keeps it from dealing a value it does not know. Step 4 finds a dealer that told
different stories. After step 5 a share that fits proves only that dealer or complainant
lied about step 3; which of the two, the records of their link must tell. Any fault ends
the set-up with the names; it is repeated under a new session, and nothing of it is used.

A refresh deals polynomials that are zero at zero: the shares change, the key does not,
and a thief needs t shares of one generation. The links between holders must be
authenticated and, for step 3, confidential. Old shares must be destroyed, but only once
all holders have signed the new record: one that failed in step 4 still has its old share.

Source:
    Pedersen 1991 (joint Feldman sharing); Gennaro, Jarecki, Krawczyk, Rabin 2007 for the
    bias that step 1 removes; RFC 9591, appendix C.2, for the shares; Herzberg, Jarecki,
    Krawczyk, Yung 1995 for the refresh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha512

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.group.encoding import decode_scalar
from protocols.group.interface import ELEMENT_SIZE, SCALAR_SIZE, Group
from protocols.oprf.errors import RogueHolderError, WrongShareError
from protocols.oprf.messages import Opening, Verdict
from protocols.oprf.possession import prove_possession, verify_possession
from protocols.oprf.records import KeyRecord, KeyShare
from protocols.oprf.setup import Setup
from protocols.oprf.shares import public_share_at, share_at
from protocols.oprf.suite import Random, Suite, random_scalars
from protocols.program import Program, Receive, Send


def generate_key(suite: Suite, setup: Setup, ours: str, random: Random) -> Program[KeyShare]:
    """Take part in making a new key.

    Raises:
        RogueHolderError: a holder broke the rules; the message names it.
        WrongShareError: a dealer gave a wrong share; the message names it.
    """
    if setup.previous is not None:
        raise UnsupportedParameterError("set-up: is a refresh; use `refresh_share`")
    return _Dealing(suite, setup, ours, random).run(None)


def refresh_share(suite: Suite, setup: Setup, share: KeyShare, random: Random) -> Program[KeyShare]:
    """Take part in refreshing the shares of a key.

    Raises:
        RogueHolderError, WrongShareError: as `generate_key`.
    """
    if setup.previous != share.record:
        raise UnsupportedParameterError("set-up: refreshes another key or generation")
    ours = share.record.holders[share.index - 1]
    return _Dealing(suite, setup, ours, random).run(share)


class _Dealing:
    """One holder's part in one set-up."""

    def __init__(self, suite: Suite, setup: Setup, ours: str, random: Random) -> None:
        if ours not in setup.holders:
            raise UnsupportedParameterError("set-up: we are not one of its holders")
        self._suite = suite
        self._group: Group = suite.group
        self._setup = setup
        self._random = random
        self._index = setup.holders.index(ours) + 1
        # A refresh leaves out the coefficient of power zero: its value at zero is zero.
        self._first_power = 0 if setup.previous is None else 1
        self._count = setup.threshold - self._first_power

    def run(self, old: KeyShare | None) -> Program[KeyShare]:
        coefficients = random_scalars(self._group, self._count, self._random)
        openings = yield from self._exchange_openings(coefficients)
        shares = yield from self._exchange_shares(coefficients, openings)
        yield from self._agree(coefficients, openings, shares)
        return self._conclude(openings, shares, old)

    def _exchange_openings(self, coefficients: bytes) -> Program[dict[int, Opening]]:
        """Steps 1 and 2: first all hashes, then all openings."""
        ours = self._open(coefficients)
        yield from self._broadcast(self._seal(self._index, ours.encode()))
        seals = yield from self._gather()
        yield from self._broadcast(ours.encode())
        texts = yield from self._gather()
        openings = {self._index: ours}
        for index, text in texts.items():
            if seals[index] != self._seal(index, text):
                raise RogueHolderError(f"{self._name(index)}: opening differs from its hash")
            openings[index] = self._read_opening(index, text)
        return dict(sorted(openings.items()))

    def _open(self, coefficients: bytes) -> Opening:
        commitments = self._group.multiply_base(coefficients)
        if self._first_power:
            return Opening(commitments, b"")
        secret, public = coefficients[:SCALAR_SIZE], commitments[:ELEMENT_SIZE]
        proof = prove_possession(
            self._suite, secret, public, self._label(self._index), self._random
        )
        return Opening(commitments, proof)

    def _read_opening(self, index: int, text: bytes) -> Opening:
        opening = Opening.decode(text, count=self._count, proven=not self._first_power)
        self._group.check_elements(opening.commitments, f"opening of {self._name(index)}")
        if not self._first_power:
            public = opening.commitments[:ELEMENT_SIZE]
            try:
                verify_possession(self._suite, public, self._label(index), opening.possession)
            except (RogueHolderError, MalformedMessageError) as error:
                raise RogueHolderError(f"{self._name(index)}: {error}") from error
        return opening

    def _exchange_shares(
        self, coefficients: bytes, openings: Mapping[int, Opening]
    ) -> Program[dict[int, bytes]]:
        """Step 3; a dealer whose share is wrong is missing from the result."""
        for index in self._others():
            yield Send(self._name(index), self._share_for(coefficients, index))
        given = yield from self._gather()
        given[self._index] = self._share_for(coefficients, self._index)
        return {i: s for i, s in given.items() if self._fits(openings[i], s, self._index)}

    def _agree(
        self, coefficients: bytes, openings: Mapping[int, Opening], shares: Mapping[int, bytes]
    ) -> Program[None]:
        """Step 4: all must have seen the same openings, and nobody a wrong share."""
        blamed = tuple(index for index in self._others() if index not in shares)
        ours = Verdict(self._transcript(openings), blamed)
        yield from self._broadcast(ours.encode())
        texts = yield from self._gather()
        count = len(self._setup.holders)
        verdicts = {i: Verdict.decode(text, holders=count) for i, text in texts.items()}
        verdicts[self._index] = ours
        for index, verdict in sorted(verdicts.items()):
            if verdict.transcript != ours.transcript:
                raise RogueHolderError(
                    f"set-up: {self._name(index)} was told other commitments than we were"
                )
        complaints = ((i, dealer) for i, v in sorted(verdicts.items()) for dealer in v.blamed)
        for complainant, dealer in complaints:
            yield from self._judge(coefficients, openings, complainant, dealer)

    def _judge(
        self, coefficients: bytes, openings: Mapping[int, Opening], complainant: int, dealer: int
    ) -> Program[None]:
        """Step 5: the dealer shows the share, and the set-up ends either way.

        One share of an abandoned polynomial tells nothing of any key in use.
        """
        if dealer == self._index:
            shown = self._share_for(coefficients, complainant)
            yield from self._broadcast(shown)
        else:
            shown = yield Receive(self._name(dealer))
        if self._fits(openings[dealer], shown, complainant):
            raise RogueHolderError(
                f"set-up: {self._name(dealer)} shows a right share and {self._name(complainant)} "
                "complains of a wrong one; find out which of the two lies, and repeat without it"
            )
        raise WrongShareError(
            f"{self._name(dealer)}: share for {self._name(complainant)} breaks its commitments"
        )

    def _conclude(
        self, openings: Mapping[int, Opening], shares: Mapping[int, bytes], old: KeyShare | None
    ) -> KeyShare:
        """Add up what all dealt, and check that our share has become the right one."""
        group, setup = self._group, self._setup
        total = _sum(group.add, (opening.commitments for opening in openings.values()))
        scalar = _sum(group.scalar_add, shares.values())
        publics = [self._public_at(total, i) for i in range(1, len(setup.holders) + 1)]
        public, generation = total[:ELEMENT_SIZE], 0
        if old is not None:
            public, generation = old.record.public, old.record.generation + 1
            scalar = group.scalar_add(old.scalar, scalar)
            before = old.record.public_shares
            publics = [group.add(a, b) for a, b in zip(before, publics, strict=True)]
        if group.multiply_base(scalar) != publics[self._index - 1]:
            raise WrongShareError(
                "set-up: our own share is not the one on record; restore it first"
            )
        record = KeyRecord(
            setup.epoch, generation, setup.threshold, setup.holders, public, tuple(publics)
        )
        return KeyShare(record, self._index, scalar)

    def _share_for(self, coefficients: bytes, index: int) -> bytes:
        return share_at(self._group, coefficients, index, first_power=self._first_power)

    def _public_at(self, commitments: bytes, index: int) -> bytes:
        return public_share_at(self._group, commitments, index, first_power=self._first_power)

    def _fits(self, opening: Opening, share: bytes, index: int) -> bool:
        try:
            public = self._group.multiply_base(decode_scalar(share, "share"))
        except MalformedMessageError:
            return False
        return public == self._public_at(opening.commitments, index)

    def _label(self, index: int) -> bytes:
        return self._setup.context + bytes([index])

    def _seal(self, index: int, opening: bytes) -> bytes:
        return sha512(b"lianfang/oprf/opening/v1" + self._label(index) + opening).digest()

    def _transcript(self, openings: Mapping[int, Opening]) -> bytes:
        text = b"".join(opening.encode() for _, opening in sorted(openings.items()))
        return sha512(b"lianfang/oprf/transcript/v1" + self._setup.context + text).digest()

    def _name(self, index: int) -> str:
        return self._setup.holders[index - 1]

    def _others(self) -> list[int]:
        return [i for i in range(1, len(self._setup.holders) + 1) if i != self._index]

    def _broadcast(self, payload: bytes) -> Program[None]:
        for index in self._others():
            yield Send(self._name(index), payload)

    def _gather(self) -> Program[dict[int, bytes]]:
        texts: dict[int, bytes] = {}
        for index in self._others():
            texts[index] = yield Receive(self._name(index))
        return texts


def _sum(add: Callable[[bytes, bytes], bytes], batches: Iterable[bytes]) -> bytes:
    total, *rest = batches
    for batch in rest:
        total = add(total, batch)
    return total
