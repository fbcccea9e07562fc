"""Leaving for good: nothing new, open runs ended, key shares destroyed, agreements revoked.

    1  decided and entered, agreement by agreement   refused: nothing has changed
    2  node-state.json says that the node has left   from here on everything new is refused
    3  open runs are ended, reservations given back  what was released stays paid and entered
    4  the shares of all keys are destroyed          overwritten; drafts of key set-ups as well
    5  agreements are revoked                        for everybody, once the hub has passed it on
    6  left.json says what is kept, and until when

A crash after any step is mended by the same command: what is done already is not done again,
but for the entry of the first step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clients.audit.home import AuditHome
from clients.node.files import exclusive, store_json
from clients.node.home import Home
from clients.node.phases.closing import end
from clients.node.session import Session
from clients.node.spending import open_ledger
from clients.node.standing_state import Standing, State, check_reason, keep_state, state_of
from compliance.agreement.document import Agreement
from compliance.agreement.revocation import revoke
from compliance.agreement.standing import State as Stage
from compliance.agreement.store import AgreementStore
from compliance.evaluations.store import EpochStore
from compliance.exports.integrity import FLOOR_MONTHS
from compliance.files import write_atomically
from compliance.office.about import About
from compliance.office.office import Office
from protocols.tlog.entry import Verb

if TYPE_CHECKING:
    from compliance.staff.acting import Acting

ACT = "revoke_agreement"
REPORT = "left.json"
_LIVE = (Stage.IN_FORCE, Stage.AWAITED, Stage.DRAFT)


@dataclass(frozen=True, slots=True)
class Kept:
    """One kind of record that stays here after leaving.

    Args:
        until: the first day on which it may go, YYYY-MM-DD; empty where no law keeps it.
    """

    what: str
    where: tuple[str, ...]
    until: str
    why: str

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"what": self.what, "where": list(self.where), "until": self.until, "why": self.why}


@dataclass(frozen=True, slots=True)
class Left:
    """What leaving came to.

    Args:
        runs: that were open and are ended; epochs: whose shares are destroyed.
        revoked: hashes of the agreements that this party has ended, hexadecimal.
        files: the revocations, to be sent where the hub does not answer.
    """

    at: int
    reason: str
    runs: tuple[str, ...]
    epochs: tuple[int, ...]
    revoked: tuple[str, ...]
    files: tuple[str, ...]
    kept: tuple[Kept, ...]
    hub_must: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """Return the JSON form, which also lies in left.json."""
        return {
            "at": self.at,
            "reason": self.reason,
            "runs_ended": list(self.runs),
            "shares_destroyed": list(self.epochs),
            "revoked": list(self.revoked),
            "revocations": list(self.files),
            "kept": [item.fields() for item in self.kept],
            "hub_must": list(self.hub_must),
        }


def leave(home: Home, office: Office, who: Acting, *, reason: str) -> Left:
    """End taking part, for good; see the steps above.

    Args:
        reason: for all parties to read.

    Raises:
        NotPermittedError: this actor may not; that is entered, and nothing has changed.
        ConfigError: no reason that can be read.
    """
    text, name = check_reason(reason), home.config().name
    audit = AuditHome(home)
    store = audit.agreements()
    with exclusive(home.root):
        now, before = office.clock.now(), state_of(home)
        has_left = before.standing is Standing.LEFT
        live = _live(store, name, now)
        for agreement in live:
            who.perform(office, ACT, _about(agreement, name, text), what=f"leave {agreement.name}")
        if not live and not has_left:
            who.perform(office, ACT, _about(None, name, text), what="leave")
        if has_left:  # what was said first stands: a repetition decides nothing new
            text = before.reason
        else:
            keep_state(home, State(Standing.LEFT, text, now, holder=True))
        runs = _end_runs(home, now)
        epochs = _destroy_shares(home)
        for agreement in live:
            _revoke(audit, store, agreement, text, now)
        ended = _revoked(store, name)
        found = Left(
            at=now,
            reason=text,
            runs=runs,
            epochs=epochs,
            revoked=tuple(digest.hex() for digest in ended),
            files=tuple(_file(digest, name) for digest in ended),
            kept=kept(home, store, now),
            hub_must=_hub_must(name, epochs),
        )
        store_json(home.root / REPORT, found.fields())
    return found


def kept(home: Home, store: AgreementStore, now: int) -> tuple[Kept, ...]:
    """Return what remains in the node's directory and until when, by the newest agreement.

    Counted from now, since the last record of each kind is no younger.
    """
    months = _months(store)

    def until(kind: str) -> str:
        return _after(now, months[kind])

    rows = (
        ("own audit log and its private parts", ("log", "log-second"), until("log_months"),
         "evidence of every act; the agreement's log retention"),
        ("agreements, policies and the privacy ledger",
         ("agreements", "policies", "ledger"), until("log_months"), "without them no entry of the "
         "log can be judged again"),
        ("book of answered evaluations", ("holder/book.journal", "holder/manifests"),
         until("log_months"), "charge and evidence in one"),
        ("accounts, rights requests and incidents", ("staff", "rights", "incidents"),
         until("log_months"), "who acted, and what persons asked"),
        ("records and parts of models", ("runs",), until("models_months"),
         "the agreement's retention of models"),
        ("scores", tuple(f"runs/*/{name}" for name in ("logit.npy", "refined.npy")),
         until("scores_months"), "the agreement's retention of scores"),
        ("register of reports", ("feed",), until("reports_months"),
         "the agreement's retention of reports; withdraw what is wrong before that"),
        ("keys and certificates", ("keys",), until("log_months"),
         "the log is signed with them; the certificate runs out by itself"),
        ("copy of your own table", ("snapshot",), "", "no longer needed here; delete it"),
    )  # fmt: skip
    return tuple(
        Kept(what, there, day, why)
        for what, where, day, why in rows
        if (there := tuple(place for place in where if any(home.root.glob(place))))
    )


def _live(store: AgreementStore, name: str, now: int) -> list[Agreement]:
    """Return the agreements that bind us, or would: in force, awaited, or signed by us."""
    found = []
    for digest, version in store.versions().items():
        stage = store.state(digest, now)
        ours = name in version.signers
        if ours and stage in _LIVE and not _has_revoked(store, digest, name):
            found.append(version.agreement)
    return found


def _revoked(store: AgreementStore, name: str) -> list[bytes]:
    return [digest for digest in store.digests() if _has_revoked(store, digest, name)]


def _has_revoked(store: AgreementStore, digest: bytes, name: str) -> bool:
    return any(item.party == name for item in store.revocations(digest))


def _about(agreement: Agreement | None, name: str, reason: str) -> About:
    digest = None if agreement is None else agreement.digest
    return About(
        Verb.ALTER,
        "taking-part/left",
        recipients=()
        if agreement is None
        else tuple(other for other in agreement.names if other != name),
        count=0 if agreement is None else 1,
        document=digest,
        subject=f"{name} left" if digest is None else f"agreement {digest.hex()}",
        reason=reason,
    )


def _end_runs(home: Home, now: int) -> tuple[str, ...]:
    """End every run that is open here, and every reservation that belongs to none."""
    found = []
    for path in sorted(home.root.glob("runs/*/ephemeral.key")):
        end(Session.resume(home, path.parent.name))
        found.append(path.parent.name)
    if home.ledger.exists():
        with open_ledger(home) as ledger:
            for run in sorted(ledger.open_runs()):
                ledger.close_run(run, now)
                found.append(run)
    return tuple(found)


def _destroy_shares(home: Home) -> tuple[int, ...]:
    """Destroy every share and draft of this node as a key holder; returns the epochs."""
    root = home.root / "holder"
    if not root.is_dir():
        return ()
    store = EpochStore(root)
    epochs = sorted({int(path.stem.split(".")[0]) for path in _files(root / "shares")})
    for epoch in epochs:
        store.destroy_share(epoch)
    for path in _files(root / "drafts"):
        store.drop_draft(bytes.fromhex(path.stem))
    return tuple(epochs)


def _files(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("[0-9a-f]*.share"))


def _revoke(
    audit: AuditHome, store: AgreementStore, agreement: Agreement, reason: str, now: int
) -> None:
    revocation = revoke(audit.identity(), agreement, audit.name, reason=reason, now=now)
    store.keep_revocation(revocation, now=now)
    path = audit.node.root / _file(agreement.digest, audit.name)
    write_atomically(path, revocation.encode())


def _file(digest: bytes, name: str) -> str:
    return f"revocation-{digest.hex()[:12]}-{name}.json"


def _months(store: AgreementStore) -> dict[str, int]:
    """Return the retention of the newest agreement; the longest legal floor without one."""
    known = store.digests()
    if not known:
        names = ("log_months", "reports_months", "scores_months", "models_months")
        return dict.fromkeys(names, FLOOR_MONTHS)
    found: dict[str, int] = store.load(known[-1]).agreement.retention.format()
    return found


def _after(now: int, months: int) -> str:
    """Return the first day of the month that begins `months` whole months from now."""
    today = datetime.fromtimestamp(now, UTC)
    at = today.year * 12 + today.month + months  # the month after, counted from zero
    return f"{at // 12:04}-{at % 12 + 1:02}-01"


def _hub_must(name: str, epochs: tuple[int, ...]) -> tuple[str, ...]:
    """Say what is left to the hub's operator, who alone can do it."""
    steps = [
        f"take the revocation in and restart no run with {name}: "
        "`lianfang-hub agreement list HUB` shows the agreement as revoked",
        f"draw up an agreement without {name} among those that go on, and let all sign it",
        f"begin an epoch whose manifest names neither {name} as holder, asker nor contributor: "
        "`lianfang-hub epoch begin HUB --holders ...`; desks then need its reports no more",
        f"delete the tables that {name} published (tables/EPOCH/{name}) once that epoch serves",
    ]
    if epochs:
        listed = ", ".join(str(epoch) for epoch in epochs)
        steps.insert(
            2,
            f"key shares of epoch {listed} are destroyed here: with fewer holders than the "
            f"threshold it is dead, `lianfang-hub epoch status HUB` tells",
        )
    return tuple(steps)
