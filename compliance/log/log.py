"""The audit log of one origin: append durably, sign, have witnessed, publish.

    append       1 encode in the caller's thread
                 2 take the turn; read what other processes appended, and check it
                 3 entries, tiles, edge, documents and private parts in one transaction
                 4 return the index: only from here on may the answer leave
    checkpoint   1 read the last signed checkpoint in the second place, and check the tree
                 2 sign the present tree; swap it into the second place
                 3 ask the witnesses
                 4 with a quorum, swap it into the storage: it is published

The log signs nothing that does not extend what the second place holds, and the second place
holds it before a witness or anyone else sees it: two processes, or one that was put back to
yesterday, cannot sign two histories. A crash between 2 and 4 leaves a checkpoint that was
never published; the next one extends it.

At the opening and at every turn the storage must extend what is known. If it does not, that is
`LogCorruptError`, and this object appends and signs nothing any more. What an old copy of the
storage cannot be told by is the entries after the last checkpoint: make checkpoints often.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from compliance.clock import Clock
from compliance.configuration import ConfigError
from compliance.errors import LogCorruptError
from compliance.log.draft import Draft, draft_entry
from compliance.log.errors import NotWitnessedError, StorageError
from compliance.log.groupcommit import WINDOW_S, GroupCommit
from compliance.log.second import CheckpointStore
from compliance.log.storage import Batch, Edge, SealedPart, Storage, Turn
from compliance.log.tree import StoredTree, Tip, grow, load_tip
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint, verify_signers
from protocols.tlog.entry import Entry
from protocols.tlog.note import KeyKind, Note, SignatureLine, Signer, VerifierKey
from protocols.tlog.policy import Policy
from protocols.tlog.proof import LogProof

Prove: TypeAlias = Callable[[int], list[bytes]]
Cosign: TypeAlias = Callable[[Note, Prove], Sequence[SignatureLine]]
"""Asks the witnesses: the signed checkpoint, and the proof from a size that a witness knows.

Returns the lines that came; a witness that refuses or does not answer is left out.
"""

_ATTEMPTS = 3
_AT_ONCE = 4_096  # entries read at once when others have appended many


class Log:
    """One log, for any number of threads; other processes may have the same one open.

    Args:
        second: kept apart from `storage`.
        signer: a plain Ed25519 key under the name of the log's origin.
        policy: what a checkpoint needs to be published; asked for anew each time if it is told
            by a function.
        window_s: see `groupcommit`.

    Raises:
        ConfigError: the policy does not know the log.
        LogCorruptError: storage and second place do not agree, or one was put back.
        StorageError: one of them cannot be reached.
    """

    def __init__(
        self,
        storage: Storage,
        second: CheckpointStore,
        signer: Signer,
        *,
        policy: Policy | Callable[[], Policy],
        cosign: Cosign,
        clock: Clock,
        window_s: float = WINDOW_S,
    ) -> None:
        if signer.kind is not KeyKind.ED25519:
            raise ValueError("log: signs with a plain Ed25519 key")
        told = policy if callable(policy) else lambda: policy
        if all(log.key != signer.key for log in told().logs):
            raise ConfigError(f"policy: does not list the key of {signer.name}; add its log line")
        self.origin = signer.name
        self._storage = storage
        self._second = second
        self._signer = signer
        self._policy = told
        self._cosign = cosign
        self._clock = clock
        self._broken = False
        self._turn = threading.Lock()  # over the tip
        self._signing = threading.Lock()
        storage.register(self.origin)
        self._tip = self._open()
        self._group: GroupCommit[Draft, int] = GroupCommit(self._commit, window_s=window_s)

    @property
    def size(self) -> int:
        """How many entries this object knows of."""
        return self._tip.edge.size

    def append(self, entry: Entry, part: SealedPart | None = None) -> int:
        """Append an entry; return its index when it is durable, with its private part.

        Args:
            entry: its `sequence` is replaced by the index.

        Raises:
            StorageError: it is open whether the entry is there: give no answer.
            LogCorruptError: the log is not what was written; nothing is appended any more.
        """
        return self._group.submit(draft_entry(entry, part))

    def checkpoint(self) -> Note:
        """Sign the log as it is, have it witnessed, publish it, and return it.

        If another process has published a later one, that is returned.

        Raises:
            NotWitnessedError: no quorum; the last published checkpoint stands.
            LogCorruptError: the tree does not extend what was signed.
            StorageError: a place cannot be reached.
        """
        with self._signing:
            note, checkpoint = self._sign()
            published = self._published()
            if published is not None and _checkpoint(published).size >= checkpoint.size:
                return published
            tree = StoredTree(self._storage, self.origin, checkpoint.size)
            lines = self._cosign(note, tree.prove_consistency)
            return self._publish(note.with_signatures(lines))

    def prove(self, index: int) -> LogProof:
        """Return the proof of an entry in the published checkpoint.

        Raises:
            ValueError: the checkpoint does not reach that far, or there is none.
        """
        note = self._published()
        if note is None:
            raise ValueError("no checkpoint is published")
        tree = StoredTree(self._storage, self.origin, _checkpoint(note).size)
        return LogProof(index, tuple(tree.prove_inclusion(index)), note)

    def _open(self) -> Tip:
        # Published, second place, tip: each is read before what it must not exceed, since
        # other processes are at work meanwhile.
        published = self._published()
        known = self._known() or self._begin()
        tip = load_tip(self._storage, self.origin)
        self._check_extends(tip, known)
        if published is None:
            return tip
        public = _checkpoint(published)
        if public.size > known.size:
            raise LogCorruptError(
                f"log: published up to {public.size}, the second place holds {known.size}: it "
                "was put back; restore its directory"
            )
        self._check_extends(tip, public)
        return tip

    def _begin(self) -> Checkpoint:
        """Put the empty tree into the second place: from then on its loss is noticed."""
        size = self._storage.edge(self.origin).size
        if size == 0:
            self._second.swap(self.origin, None, self._signed(Edge()).encode())
        # Whoever was faster has put in another one, and perhaps appended already.
        known = self._known()
        if known is None:
            raise LogCorruptError(
                f"log: {size} entries, and the second place holds no checkpoint; restore its "
                "directory"
            )
        return known

    def _commit(self, drafts: Sequence[Draft]) -> list[int]:
        with self._turn:
            for _ in range(_ATTEMPTS):
                before = self._sound_tip()
                try:
                    return self._append(drafts)
                except LogCorruptError:
                    self._broken = True
                    raise
                except StorageError as error:
                    failure = error
                indices = self._settle(before, drafts)
                if indices is not None:
                    return indices
            raise failure

    def _append(self, drafts: Sequence[Draft]) -> list[int]:
        with self._storage.exclusive(self.origin) as turn:
            tip = self._caught_up(turn)
            first = tip.edge.size
            entries = tuple(draft.place(first + at) for at, draft in enumerate(drafts))
            after, tiles = grow(tip, entries, self._storage, self.origin)
            placed = enumerate(drafts, start=first)
            parts = tuple((index, draft.part) for index, draft in placed if draft.part is not None)
            documents = tuple(
                (index, draft.document)
                for index, draft in enumerate(drafts, start=first)
                if draft.document is not None
            )
            turn.append(Batch(tip.edge, after.edge, entries, tuple(tiles), parts, documents))
        self._tip = after
        return list(range(first, first + len(drafts)))

    def _settle(self, before: Tip, drafts: Sequence[Draft]) -> list[int] | None:
        """After a failure: the indices, if the batch is there all the same, None if it is not.

        Raises:
            StorageError: that cannot be found out either.
        """
        try:
            with self._storage.exclusive(self.origin) as turn:
                tip = self._caught_up(turn)
                new = turn.entries(before.edge.size, tip.edge.size)
        except LogCorruptError:
            self._broken = True
            raise
        self._tip = tip
        # Others may have appended before our turn; within it the batch is in one piece. No
        # two entries have the same bytes: each commits to a salt of its own.
        for at, entry in enumerate(new):
            if entry == drafts[0].place(before.edge.size + at):
                first = before.edge.size + at
                return list(range(first, first + len(drafts)))
        return None

    def _caught_up(self, turn: Turn | None = None) -> Tip:
        """Return the tip with what others appended; what is there must extend what we knew."""
        edge = self._storage.edge(self.origin) if turn is None else turn.edge
        tip = self._tip
        if edge.size < tip.edge.size:
            raise LogCorruptError(f"log: {edge.size} entries where {tip.edge.size} were")
        read = self._entries if turn is None else turn.entries
        while tip.edge.size < edge.size:
            start = tip.edge.size
            new = read(start, min(edge.size, start + _AT_ONCE))
            tip, _ = grow(tip, new, self._storage, self.origin)
        if tip.edge != edge:
            raise LogCorruptError(f"log: another history of {edge.size} entries")
        return tip

    def _entries(self, start: int, end: int) -> list[bytes]:
        return self._storage.entries(self.origin, start, end)

    def _sound_tip(self) -> Tip:
        if self._broken:
            raise LogCorruptError("log: found corrupt before; open it again once restored")
        return self._tip

    def _sign(self) -> tuple[Note, Checkpoint]:
        """Return the checkpoint of the present tree, which the second place holds."""
        while True:
            old = self._second.load(self.origin)
            with self._turn, self._breaking():
                self._sound_tip()
                self._tip = tip = self._caught_up()
            # Appending goes on meanwhile: it leaves the tree up to this tip as it is.
            with self._breaking():
                known = self._check_known(old, tip)
            if known.size == tip.edge.size and old is not None:
                return Note.decode(old), known
            note = self._signed(tip.edge)
            if self._second.swap(self.origin, old, note.encode()):
                return note, _checkpoint(note)

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        """Append and sign nothing any more, once something was found corrupt."""
        try:
            yield
        except LogCorruptError:
            self._broken = True
            raise

    def _check_known(self, old: bytes | None, tip: Tip) -> Checkpoint:
        if old is None:
            raise LogCorruptError("log: the second place lost its checkpoint; restore it")
        known = self._verified(old)
        self._check_extends(tip, known)
        return known

    def _check_extends(self, tip: Tip, known: Checkpoint) -> None:
        if tip.edge.size < known.size:
            raise LogCorruptError(
                f"log: {tip.edge.size} entries, but a checkpoint of {known.size} was signed: the "
                "storage was put back; restore a later copy"
            )
        tree = StoredTree(self._storage, self.origin, tip.edge.size)
        if tree.root(known.size) != known.root:
            raise LogCorruptError(f"log: another history of {known.size} entries was signed: fork")

    def _publish(self, note: Note) -> Note:
        try:
            ours = self._policy().verify(note).checkpoint
        except InvalidProofError as error:
            raise NotWitnessedError(f"not published: {error}") from error
        while True:
            old = self._storage.checkpoint(self.origin)
            if old is not None and _checkpoint(found := Note.decode(old)).size >= ours.size:
                return found
            if self._storage.swap_checkpoint(self.origin, old, note.encode()):
                return note

    def _signed(self, edge: Edge) -> Note:
        checkpoint = Checkpoint(self.origin, edge.size, edge.root())
        line = sign_checkpoint(checkpoint, self._signer, self._clock.now())
        return Note(checkpoint.format(), (line,))

    def _published(self) -> Note | None:
        data = self._storage.checkpoint(self.origin)
        if data is None:
            return None
        self._verified(data)
        return Note.decode(data)

    def _known(self) -> Checkpoint | None:
        data = self._second.load(self.origin)
        return None if data is None else self._verified(data)

    def _verified(self, data: bytes) -> Checkpoint:
        return verify_own(data, self._signer.key)


def verify_own(data: bytes, key: VerifierKey) -> Checkpoint:
    """Return a stored checkpoint that the log's own key signed.

    Raises:
        LogCorruptError: it is of another log, or was altered.
    """
    try:
        note = Note.decode(data)
        checkpoint = Checkpoint.parse(note.text)
        signed = verify_signers(checkpoint, note, [key])
    except (MalformedMessageError, InvalidProofError) as error:
        raise LogCorruptError(f"log: a stored checkpoint does not hold: {error}") from error
    if not signed or checkpoint.origin != key.name:
        raise LogCorruptError("log: a stored checkpoint is not signed by this log")
    return checkpoint


def _checkpoint(note: Note) -> Checkpoint:
    return Checkpoint.parse(note.text)
