"""The hub as key holder.

    HUB/holder/manifests/, shares/, drafts/   epochs and the hub's shares of their keys
    journal `holder/book`                     every request that the hub admitted
    epochs/contributors.json                  numbers of contributors, never given twice
    epochs/delivered.json                     which holder has confirmed which manifest and end

The last three are where the hub keeps what changes while it is served (`server.keeping`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.clock import Clock, SystemClock
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.holder import KeyHolder
from compliance.evaluations.setups import KeySetups
from compliance.evaluations.store import EpochStore
from protocols.errors import UnsupportedParameterError
from protocols.group.select import load_group
from protocols.oprf.suite import Mode, Random, Suite
from server.home import HubHome
from server.identity.peer import CONTROL_NAME
from server.keeping.partners import parse_object
from server.keeping.place import keeping_of

# Under this name the hub takes part in runs and holds its share.
HUB = CONTROL_NAME
FOLDER = "holder"
EPOCHS = "epochs"  # the shelf
_NUMBERS = "contributors.json"


@dataclass(frozen=True, slots=True)
class Holding:
    """All that the hub has as a holder; `close` gives the book back."""

    home: HubHome
    suite: Suite = field(repr=False)
    store: EpochStore = field(repr=False)
    book: EvaluationBook = field(repr=False)
    holder: KeyHolder = field(repr=False)
    setups: KeySetups = field(repr=False)
    clock: Clock = field(repr=False)
    random: Random = field(repr=False)

    @property
    def root(self) -> Path:
        """Return the hub's directory as holder."""
        return self.home.root / FOLDER

    def numbers(self, names: Iterable[str]) -> dict[str, int]:
        """Return the contributors' numbers; new ones are given durably and for ever."""
        shelf, wanted = keeping_of(self.home.root).shelf(EPOCHS), sorted(set(names))
        while True:
            old = shelf.current(_NUMBERS)
            given: dict[str, int] = {} if old is None else parse_object(old, _NUMBERS)
            new = [name for name in wanted if name not in given]
            if not new:
                break
            first = max(given.values(), default=0) + 1
            given |= {name: number for number, name in enumerate(new, first)}
            if shelf.replace(_NUMBERS, old, json.dumps(given, indent=1).encode()):
                break
        return {name: given[name] for name in wanted}

    def close(self) -> None:
        """Give the book back."""
        self.book.close()


def open_holding(
    home: HubHome,
    *,
    suite: Suite | None = None,
    clock: Clock | None = None,
    random: Random = os.urandom,
) -> Holding:
    """Open the hub's directory as holder; made at the first time."""
    suite = suite or Suite(load_group(), Mode.VOPRF)
    clock = clock or SystemClock()
    store = EpochStore(home.root / FOLDER)
    book = EvaluationBook(keeping_of(home.root).book)
    identities = identities_of(home)
    return Holding(
        home=home,
        suite=suite,
        store=store,
        book=book,
        holder=KeyHolder(HUB, suite, store, book, identities, clock, random),
        setups=KeySetups(
            name=HUB,
            suite=suite,
            store=store,
            identity=home.identity_key(),
            identities=identities,
            clock=clock,
            random=random,
        ),
        clock=clock,
        random=random,
    )


def identities_of(home: HubHome) -> Callable[[str], Ed25519PublicKey | None]:
    """Return a look-up of identity keys by name: the hub's own, and the partners' that joined."""
    ours = home.identity_key().public_key()
    keys: dict[str, Ed25519PublicKey] = {}  # by their text, as many as there are partners

    def find(name: str) -> Ed25519PublicKey | None:
        if name == HUB:
            return ours
        try:
            text = home.partner(name)["identity"]
        except UnsupportedParameterError:
            return None
        known = keys.get(text)
        if known is None:
            known = keys[text] = Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
        return known

    return find
