"""What a witness makes of a checkpoint that it refuses, and of one that does not come.

    fork           the log signed another root at a size that we cosigned: proof
    inconsistent   signed by the log, and not shown to extend what we cosigned: a mistake,
                   or how a fork looks whose branches parted earlier
    rollback       signed by the log, smaller than what we cosigned, and never seen before

Anyone may repeat what a log once signed: an old checkpoint that we cosigned says nothing and
raises no alarm. Of two processes of one log the slower may come a moment late: within
`RACE_S` a smaller checkpoint is no rollback. An alarm over a checkpoint that is cosigned
after all closes by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from clients.witness.pins import Pin
from clients.witness.store import Seen
from compliance.log.alarms import Alarm, AlarmKind, LogAlarms
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.note import Note, VerifierKey
from protocols.tlog.witness import AddCheckpoint, Reason, Refused

RACE_S = 60
_COSIGNED = "cosigned after all"
_HEARD = "a checkpoint came"
_TEXTS = {
    AlarmKind.FORK: "the log signed two roots at size {size}",
    AlarmKind.INCONSISTENT: "size {size} was not shown to extend size {held}, which we cosigned",
    AlarmKind.ROLLBACK: "the log shows size {size}, never seen here, after we cosigned {held}",
}


def alarm_over(
    request: AddCheckpoint, refused: Refused, *, held: Seen | None, same_size: Seen | None, now: int
) -> Alarm | None:
    """Return the alarm that a refused request calls for, if any.

    Args:
        held: what was last cosigned of the log.
        same_size: what was cosigned of it at the size of the request.
    """
    checkpoint = request.checkpoint
    kind = _kind(checkpoint, refused.reason, held, same_size, now)
    if kind is None or held is None:
        return None
    text = _TEXTS[kind].format(size=checkpoint.size, held=held.checkpoint.size)
    return Alarm(kind, now, checkpoint.origin, text, checkpoint.size, checkpoint.root)


def evidence_of(
    request: AddCheckpoint,
    keys: Iterable[VerifierKey],
    *,
    held: Seen | None,
    same_size: Seen | None,
) -> dict[str, bytes]:
    """Return the request, and the checkpoint that it stands against, both signed by the log.

    Lines of unknown keys are left out of the request: nobody vouches for them, and anyone
    can append them, up to a mebibyte.
    """
    known = [line for key in keys for line in request.note.lines_of(key)]
    note = Note(request.note.text, tuple(dict.fromkeys(known)))
    found = {"request": AddCheckpoint(request.old_size, request.proof, note).encode()}
    against = same_size or held
    return found if against is None else {**found, "held": against.note}


def settle(alarms: LogAlarms, pins: Iterable[Pin], checkpoint: Checkpoint, now: int) -> None:
    """Close what a cosigned checkpoint answers: doubts about it, and silence of its log."""
    names = {pin.name for pin in pins if pin.key_of(checkpoint.origin) is not None}
    for raised in alarms.open():
        alarm = raised.alarm
        if alarm.kind is AlarmKind.SILENCE and alarm.log in names:
            alarms.close_alarm(raised.number, at=now, reason=_HEARD)
        doubted = (alarm.log, alarm.size, alarm.root)
        if doubted == (checkpoint.origin, checkpoint.size, checkpoint.root):
            alarms.close_alarm(raised.number, at=now, reason=_COSIGNED)


def watch_silence(alarms: LogAlarms, pins: Iterable[Pin], seen: Iterable[Seen], now: int) -> None:
    """Raise an alarm for every pinned log of which nothing came for longer than agreed."""
    times = [(item.checkpoint.origin, item.at) for item in seen]
    for pin in pins:
        last = pin.latest(times)
        if now - last > pin.silence_s:
            text = f"nothing came for more than {pin.silence_s} s"
            alarms.raise_alarm(Alarm(AlarmKind.SILENCE, now, pin.name, text))


def _kind(
    checkpoint: Checkpoint, reason: Reason, held: Seen | None, same_size: Seen | None, now: int
) -> AlarmKind | None:
    if held is None:
        return None
    if same_size is not None:
        return AlarmKind.FORK if same_size.checkpoint.root != checkpoint.root else None
    match reason:
        case Reason.FORK:
            return AlarmKind.FORK
        case Reason.INCONSISTENT:
            return AlarmKind.INCONSISTENT
        case Reason.STALE | Reason.OLD_SIZE_TOO_LARGE if checkpoint.size < held.checkpoint.size:
            return AlarmKind.ROLLBACK if now - held.at > RACE_S else None
        case _:
            return None
