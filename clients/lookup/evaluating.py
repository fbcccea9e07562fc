"""Blind evaluation of this node's identifiers: batches, resumption, verified answers.

    canonical identifiers -> shuffled, cut into batches
    for each batch:  kept on disk -> sent -> every holder's proof checked -> outputs
                     -> the caller has them -> put away for audits

The query is durable before it is sent. A process that is killed anywhere finds it again
and sends the same batch under the same number: holders have charged it at most once and
answer a repetition for nothing. Only when the shares were refreshed in between must a batch
be asked anew. Which identifiers are in a batch is known to no one but this node.

The order of identifiers is shuffled first, so that the place in a batch says nothing about
the place in a customer table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from clients.keys import load_keys
from clients.lookup.api import HubApi
from clients.lookup.queries import QueryStore, StoredQuery
from clients.lookup.secrets import OPENING_KEY, Random, keep_secret
from clients.lookup.trust import Trust
from clients.node.home import Home
from compliance.clock import Clock
from compliance.errors import NotPermittedError
from protocols.epoch.manifest import EpochManifest
from protocols.lookup.receipt import Receipt, Reply, verify_receipt
from protocols.lookup.request import (
    CASE_PURPOSES,
    CASE_SALT_SIZE,
    Purpose,
    SignedRequest,
    sign_request,
)
from protocols.oprf import threshold
from protocols.oprf.client import derive_blinds
from protocols.oprf.messages import REQUEST_ID_SIZE
from protocols.oprf.suite import MAX_BATCH, Suite

BATCH = 16_384
OnProgress = Callable[[int, int], None]
OnOutputs = Callable[[Sequence[bytes], Sequence[bytes]], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outputs, in the order of what was asked, and the hub's receipts for them."""

    outputs: list[bytes] = field(repr=False)
    receipts: tuple[Receipt, ...]


class Evaluator:
    """Asks the holders of one epoch, on behalf of one node.

    Args:
        manifest: verified by `Trust`.
        random: os.urandom in production.
        batch: elements of one request, at most 65,536.
    """

    def __init__(  # noqa: PLR0917  # whom it asks for whom, and what it is made of
        self,
        home: Home,
        api: HubApi,
        manifest: EpochManifest,
        suite: Suite,
        clock: Clock,
        random: Random,
        *,
        batch: int = BATCH,
    ) -> None:
        if not 1 <= batch <= MAX_BATCH:
            raise ValueError(f"batch: {batch}, expected 1 to {MAX_BATCH}")
        self._api = api
        self._manifest = manifest
        self._suite = suite
        self._clock = clock
        self._random = random
        self._batch = batch
        self._trust = Trust(home)
        self._identity = load_keys(home.keys).identity
        self._opening = keep_secret(home.keys / OPENING_KEY, random)
        self._queries = QueryStore(home, random)

    def evaluate(
        self,
        canonical: Sequence[bytes],
        *,
        purpose: Purpose,
        case: str = "",
        on_progress: OnProgress | None = None,
        on_outputs: OnOutputs | None = None,
    ) -> list[bytes]:
        """Return the 64-byte outputs, in the order of `canonical`; see `run`."""
        return self.run(
            canonical, purpose=purpose, case=case, on_progress=on_progress, on_outputs=on_outputs
        ).outputs

    def run(
        self,
        canonical: Sequence[bytes],
        *,
        purpose: Purpose,
        case: str = "",
        on_progress: OnProgress | None = None,
        on_outputs: OnOutputs | None = None,
    ) -> Evaluation:
        """Evaluate identifiers; each distinct one is asked and charged once.

        Args:
            case: the asker's own reference of the case; needed where a customer is served.
            on_progress: told the identifiers done and in all, after each batch.
            on_outputs: stores a batch's inputs and outputs durably. A batch counts as done
                when this returns; without it, when `run` returns.

        Raises:
            NotPermittedError: a purpose that needs a case has none.
            HubRefusedError: the hub or a holder refused; the detail says why.
            TransportError: the hub stays away; the same call again goes on from here.
            InvalidProofError: a holder or the hub did not do what it must.

        Privacy:
            Holders and hub learn the number of distinct identifiers, the purpose, and that
            there is a case; nothing about an identifier (see `protocols.oprf.client`).
        """
        self._require_case(purpose, case)
        wanted = dict.fromkeys(canonical)
        found: dict[bytes, bytes] = {}
        done: list[tuple[StoredQuery, Receipt]] = []
        counted = 0
        try:
            for query in self._queries_for(wanted, found, purpose, case):
                done.append((query, self._finish(query, found, on_outputs)))
                counted += sum(item in wanted for item in query.inputs)
                if on_progress is not None:
                    on_progress(counted, len(wanted))
        except BaseException:
            for query, _ in done:
                self._queries.release(query)
            raise
        if on_outputs is None:
            for query, receipt in done:
                self._queries.settle(query, receipt)
        receipts = tuple(receipt for _, receipt in done)
        return Evaluation([found[item] for item in canonical], receipts)

    def _queries_for(
        self,
        wanted: Mapping[bytes, None],
        found: Mapping[bytes, bytes],
        purpose: Purpose,
        case: str,
    ) -> Iterator[StoredQuery]:
        """Yield what is to be sent: first what a killed process left over, then the rest."""
        for query in self._queries.unsettled(purpose, case):
            if query.key_id != self._manifest.record.key_id:
                # Its key or the generation of its shares is gone: no holder can answer it.
                self._queries.settle(query, None)
            elif any(item in wanted for item in query.inputs):
                yield query
            else:
                self._queries.release(query)
        for inputs in self._batches([item for item in wanted if item not in found]):
            yield self._keep(inputs, purpose, case)

    def _require_case(self, purpose: Purpose, case: str) -> None:
        if purpose in CASE_PURPOSES and not case:
            raise NotPermittedError(
                f"case: purpose {purpose} serves a customer and needs the case's reference"
            )

    def _batches(self, missing: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        draws = np.frombuffer(self._random(8 * len(missing)), np.uint64)
        shuffled = [missing[at] for at in np.argsort(draws, kind="stable")]
        starts = range(0, len(shuffled), self._batch)
        return [tuple(shuffled[at : at + self._batch]) for at in starts]

    def _keep(self, inputs: tuple[bytes, ...], purpose: Purpose, case: str) -> StoredQuery:
        record = self._manifest.record
        query = StoredQuery(
            epoch=record.epoch,
            key_id=record.key_id,
            request_id=self._random(REQUEST_ID_SIZE),
            purpose=purpose,
            reference=case,
            salt=self._random(CASE_SALT_SIZE) if case else b"",
            asked_at=self._clock.now(),
            inputs=inputs,
        )
        self._queries.add(query)
        return query

    def _finish(
        self, stored: StoredQuery, found: dict[bytes, bytes], on_outputs: OnOutputs | None
    ) -> Receipt:
        """Send a kept query, check every answer, and hand the outputs over."""
        try:
            blinds = derive_blinds(
                self._suite, self._opening, stored.request_id, len(stored.inputs)
            )
            query = threshold.Query(
                self._suite, self._manifest.record, stored.inputs, blinds, stored.request_id
            )
            request = self._sign(stored, query)
            reply = self._api.evaluate(request)
            outputs = self._open(query, request, reply)
            if on_outputs is not None:
                on_outputs(stored.inputs, outputs)
        except BaseException:
            self._queries.release(stored)
            raise
        found.update(zip(stored.inputs, outputs, strict=True))
        if on_outputs is not None:
            self._queries.settle(stored, reply.receipt)
        return reply.receipt

    def _sign(self, stored: StoredQuery, query: threshold.Query) -> SignedRequest:
        # Signed with today's time: a holder that charged the batch days ago knows it by its
        # digest, which leaves the time out; one that has not seen it wants a fresh one.
        return sign_request(
            self._identity,
            hub=self._manifest.hub,
            asker=self._trust.name,
            purpose=stored.purpose,
            case=stored.case,
            asked_at=self._clock.now(),
            evaluation=query.request,
        )

    def _open(self, query: threshold.Query, request: SignedRequest, reply: Reply) -> list[bytes]:
        verify_receipt(self._trust.hub_identity, reply.receipt, request)
        for answer in reply.answers:
            query.receive(answer)
        return query.finish()
