"""`lianfang audit rights dispute`: forward, receive, settle, reply, note.

A dispute is opened like every request. Where the reports are another organisation's, it goes
there in a letter sealed to it, and the ruling comes back in one; who carries them reads
nothing. Every letter is a file that is handed over.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.rights.cli_options import Directory, Language, Number, Profile, Reason
from compliance.commands.acting import AsOption
from compliance.commands.output import Format, Formatted, say

if TYPE_CHECKING:
    from clients.rights.counter import Counter
    from compliance.rights.case import Case

app = typer.Typer(help="Disputes of those who are listed wrongly.", no_args_is_help=True)

Letter = Annotated[Path, typer.Argument(help="The letter; deleted once it is taken in.")]
Out = Annotated[Path, typer.Option(help="Where the sealed letter goes.")]


@app.command()
def forward(
    directory: Directory,
    number: Number,
    to: Annotated[str, typer.Option(help="The contributor whose report is disputed.")],
    out: Out,
    *,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Seal a dispute to the contributor that reported."""
    from clients.rights.counter import opened

    with opened(directory, by=by) as counter:
        _pinned(counter, to)
        notice = counter.disputes.forward(number, to, counter.who)
        _seal(counter, to, notice.encode(), out)
        case = counter.rights.file.case(number)
        _tell(counter, case, output, out, f"dispute note {directory} LETTER")


@app.command()
def receive(
    directory: Directory,
    letter: Letter,
    *,
    profile: Profile = "",
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Take in a dispute that another organisation forwarded; its deadline runs from now."""
    from clients.rights.counter import opened
    from compliance.rights.disputes import Notice

    with opened(directory, by=by) as counter:
        sender, body = _open(counter, letter)
        notice = Notice.decode(body)
        case = counter.disputes.take_in(notice, sender, counter.profile(profile), counter.who)
        letter.unlink()
        following = f"verify-identity {directory} {case.number}"
        _tell(counter, case, output, None, following)


@app.command()
def settle(
    directory: Directory,
    number: Number,
    ruling: Annotated[str, typer.Argument(help="corrected, withdrawn or upheld.")],
    reason: Reason,
    *,
    corrections: Annotated[
        Path | None, typer.Option(help="The reports as they are right, as for `feed publish`.")
    ] = None,
    code: Annotated[str, typer.Option(help="Ground on which the listing is upheld.")] = "",
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Decide a dispute over our own reports; the register changes with it."""
    from clients.rights.counter import opened
    from compliance.rights.disputes import Ruling
    from protocols.errors import UnsupportedParameterError

    if ruling not in set(Ruling):
        raise UnsupportedParameterError(f"ruling: must be one of {', '.join(Ruling)}")
    chosen = Ruling(ruling)
    with opened(directory, by=by, reason=reason) as counter:
        reports = counter.reports()
        case, _ = counter.disputes.settle(
            number, chosen, code, counter.who,
            change=lambda texts: reports.rule(chosen, texts, corrections=corrections),
        )  # fmt: skip
        following = "" if chosen is Ruling.UPHELD else f"lianfang feed publish {directory}"
        dealing = counter.disputes.dealing(number)
        answer = (
            f"dispute reply {directory} {number} --out LETTER"
            if dealing
            else (f"close {directory} {number}")
        )
        _tell(counter, case, output, None, answer, first=following)


@app.command()
def reply(
    directory: Directory,
    number: Number,
    out: Out,
    *,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Seal the ruling on a settled dispute to the organisation that forwarded it."""
    from clients.rights.counter import opened

    with opened(directory, by=by) as counter:
        party, reply_ = counter.disputes.send_reply(number, counter.who)
        _seal(counter, party, reply_.encode(), out)
        case = counter.rights.file.case(number)
        _tell(counter, case, output, out, f"close {directory} {number}")


@app.command()
def note(
    directory: Directory,
    letter: Letter,
    *,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Take in the ruling on a dispute that we forwarded, and tell the person."""
    from clients.rights.counter import opened
    from compliance.rights.disputes import Reply

    with opened(directory, by=by) as counter:
        sender, body = _open(counter, letter)
        case = counter.disputes.note_reply(Reply.decode(body), sender, counter.who)
        letter.unlink()
        _tell(counter, case, output, None, f"close {directory} {case.number}")


def _pinned(counter: Counter, name: str) -> None:
    from compliance.configuration import ConfigError

    if name not in counter.identities or name == counter.name:
        raise ConfigError(f"{name[:32]}: no pinned peer; run `lianfang node trust` first")


def _seal(counter: Counter, to: str, body: bytes, out: Path) -> None:
    import os

    from compliance.files import write_atomically
    from compliance.rights.envelope import seal_letter

    _pinned(counter, to)
    letter = seal_letter(
        body,
        sender=counter.name,
        identity=counter.identity,
        recipient=to,
        theirs=counter.identities[to],
        random=os.urandom,
    )
    write_atomically(out, letter)


def _open(counter: Counter, letter: Path) -> tuple[str, bytes]:
    from compliance.configuration import ConfigError
    from compliance.rights.envelope import open_letter

    try:
        data = letter.read_bytes()
    except OSError as error:
        raise ConfigError(f"{letter.name}: cannot be read; correct the path") from error
    return open_letter(
        data, recipient=counter.name, identity=counter.identity, identities=counter.identities
    )


def _tell(
    counter: Counter,
    case: Case,
    output: Format,
    out: Path | None,
    following: str,
    *,
    first: str = "",
) -> None:
    from clients.rights.counter import case_fields, case_text

    now = counter.rights.now
    value = case_fields(case, now) | ({} if out is None else {"letter": str(out)})
    text = case_text(case, now, Language.EN)
    text += "" if out is None else f"\nSealed letter: {out}"
    command = f"lianfang audit rights {following}"
    say(output, value, text, f"{first}; then {command}" if first else command)
