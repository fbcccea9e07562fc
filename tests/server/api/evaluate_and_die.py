"""Answer one request as the hub and be killed, before or after its entry in the audit log.

    python evaluate_and_die.py DIRECTORY before|after

DIRECTORY is that of a hub and its holders; `child.json` in it holds the hub's keys, the public
keys of all partners, the time, and the request.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from compliance.clock import FixedClock
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.holder import KeyHolder
from compliance.evaluations.store import EpochStore
from compliance.log.second import FileCheckpoints
from compliance.log.sqlstore import SqlStorage
from compliance.office.keys import LogKeys
from compliance.office.opening import agreements_in, policies_in
from protocols.group.select import load_group
from protocols.lookup.request import SignedRequest
from protocols.oprf.suite import Mode, Suite
from server.log.journal import HubJournal
from server.log.opening import assemble
from server.lookup.service import Evaluations


class Dying:
    """The hub's journal, up to the moment at which the process is killed."""

    def __init__(self, journal: HubJournal, step: str) -> None:
        self.journal, self.step = journal, step

    def permit_evaluation(self, *asked):
        return self.journal.permit_evaluation(*asked)

    def evaluation_answered(self, *answered, is_new):
        if self.step == "after":
            self.journal.evaluation_answered(*answered, is_new=is_new)
        os.kill(os.getpid(), signal.SIGKILL)


class Others:
    """Holders beside the hub, in this process."""

    def __init__(self, holders):
        self.holders = holders

    def connected(self):
        return frozenset(self.holders)

    def ask(self, holder, kind, body, timeout_s):
        return self.holders[holder].answer(body).answer.encode()


def main(directory: Path, step: str) -> None:
    given = json.loads((directory / "child.json").read_text())
    clock, suite = FixedClock(given["now"]), Suite(load_group(), Mode.VOPRF)
    known = {
        name: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        for name, key in given["public"].items()
    }
    books, holders = {}, {}
    for name in ("hub", "police", "telecom"):
        store = EpochStore(directory / name / "epochs", suite.group)
        books[name] = EvaluationBook(directory / name / "book.journal")
        source = random.Random(name).randbytes
        holders[name] = KeyHolder(name, suite, store, books[name], known.get, clock, source)
    signing, *others = map(bytes.fromhex, given["log"])
    log = assemble(
        "lianfang/audit",
        SqlStorage.open(f"sqlite:///{directory}/log/log.sqlite"),
        FileCheckpoints(directory / "log" / "second"),
        LogKeys(Ed25519PrivateKey.from_private_bytes(signing), *others),
        clock=clock,
        folder=directory / "log",
        agreements=agreements_in(directory, known),
        policies=policies_in(directory),
    )
    hub = holders.pop("hub")
    evaluations = Evaluations(
        holder=hub,
        holders=Others(holders),
        store=hub.store,
        book=books["hub"],
        journal=Dying(log.journal, step),
        identity=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(given["identity"])),
        clock=clock,
    )
    request = SignedRequest.decode(bytes.fromhex(given["request"]))
    evaluations.answer(request.asker, request)


main(Path(sys.argv[1]), sys.argv[2])
