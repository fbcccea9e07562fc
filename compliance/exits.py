"""How the commands of `lianfang` and `lianfang-hub` end: one code for one meaning, in both.

`python -m compliance.exits > docs/exit-codes.md` writes the page for operators. Tests compare
it, and look at every command for codes that stand neither here nor there.
"""

from __future__ import annotations

import sys
from enum import IntEnum


class Exit(IntEnum):
    """What a command's end says; scripts go by it."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    CONFIG = 4


# By code: what it means, what to do, and whether the same command may be repeated as it is.
MEANINGS: dict[Exit, tuple[str, str, str]] = {
    Exit.DONE: (
        "Done. What the command was to find is found, and nothing in it needs anybody.",
        "Go on with the command that the last line names.",
        "yes",
    ),
    Exit.FAILED: (
        "It could not be done: the network, another party or this machine. Of what verifies: it "
        "does not hold. Of a run: it failed, or a partner refused it.",
        "Read the text; repeat the command where it says that something could not be reached.",
        "yes",
    ),
    Exit.USAGE: (
        "The command line itself is wrong: no such command, option or form of a value.",
        "Read `--help` of the command.",
        "no",
    ),
    Exit.REFUSED: (
        "A rule says no: a policy, an agreement, a quota, a budget, or who looked at the request. "
        "Of what examines: something was found that a person must look at.",
        "Change what the rule is about, or let the person decide whom the text names.",
        "no: the same is refused again",
    ),
    Exit.CONFIG: (
        "Configuration or input is wrong; nothing was begun.",
        "Correct the field or file that the text names, in the way it names.",
        "after the correction",
    ),
}

# What a command ends with by itself, beside the errors that any command may meet.
_RUN = "the run did not end as done: it failed, or a partner refused it"
_EPOCH = "a holder did not take part, and nothing has changed; the text names it"
_DOCTOR = {
    Exit.FAILED: "a check failed that concerns the network, another party or this machine",
    Exit.CONFIG: "a check failed that concerns files or settings, whatever else failed",
}
COMMANDS: dict[str, dict[Exit, str]] = {
    "lianfang-hub doctor": _DOCTOR,
    "lianfang-hub epoch begin": {Exit.FAILED: _EPOCH},
    "lianfang-hub epoch refresh": {Exit.FAILED: _EPOCH},
    "lianfang-hub log export": {Exit.FAILED: "nothing of that year is published yet"},
    "lianfang-hub run": {
        Exit.FAILED: f"a partner is not there, and nothing was started; or {_RUN}"
    },
    "lianfang-hub serve": {Exit.FAILED: f"with `--direct`: {_RUN}"},
    "lianfang audit agreement sync": {
        Exit.FAILED: "the hub does not answer",
        Exit.REFUSED: "the hub was reached, and did not take a document",
    },
    "lianfang audit alarms": {Exit.REFUSED: "an alarm is not settled"},
    "lianfang audit incident list": {Exit.REFUSED: "somebody should have been told by now"},
    "lianfang audit integrity": {Exit.FAILED: "a log does not hold"},
    "lianfang audit own export": {Exit.FAILED: "there is no such log here"},
    "lianfang audit reconcile": {Exit.REFUSED: "a log and a book do not agree"},
    "lianfang audit replay": {Exit.FAILED: "a decision does not come out as it is recorded"},
    "lianfang audit rights list": {Exit.REFUSED: "with `--overdue`: there are some"},
    "lianfang audit statement": {Exit.REFUSED: "more was charged than a cap allows"},
    "lianfang audit verify": {
        Exit.FAILED: "an entry, a checkpoint, a cosignature or a file of the pack does not hold"
    },
    "lianfang audit witness status": {Exit.REFUSED: "an alarm is open"},
    "lianfang desk audit": {Exit.REFUSED: "a question is not accounted for"},
    "lianfang feed publish": {
        Exit.FAILED: "the hub could not be reached; what was taken in is kept",
        Exit.REFUSED: "the hub refused the table",
        Exit.CONFIG: "no line of the file could be taken in, or `--strict` stopped at one",
    },
    "lianfang feed readers": {Exit.REFUSED: "a reader is behind, or signed what does not hold"},
    "lianfang feed withdraw": {
        Exit.FAILED: "the hub could not be reached; what was taken in is kept",
        Exit.REFUSED: "the hub refused the table",
        Exit.CONFIG: "no line of the file could be taken in",
    },
    "lianfang node budget": {Exit.REFUSED: "with `--run`: it does not fit"},
    "lianfang node doctor": _DOCTOR,
    "lianfang node leave": {Exit.FAILED: "left; the hub could not be told"},
    "lianfang node map": {Exit.REFUSED: "the rows do not keep the contract"},
    "lianfang node refresh": {Exit.REFUSED: "the new rows do not keep the contract; the old stay"},
}
_HEAD = """\
# Exit codes of the commands

<!-- Made by `python -m compliance.exits > docs/exit-codes.md`; a test compares it. -->

`lianfang` and `lianfang-hub` end with one of these. The result goes to standard output, also as
one JSON object (`--format json`); what went wrong is one line on standard error, with the cause and
the cure. A command that is stopped by a signal ends with 128 and the signal's number, as its shell
says.

| code | name | the same command again |
|---|---|---|
"""
_OWN = """
## Commands with a meaning of their own

Any command may end with any code above. These end so for what they find, too:

| command | code | when |
|---|---|---|
"""


def exit_of(error: BaseException) -> Exit | None:
    """Return the code of an error that both programs know; None for any other.

    The nearest class counts, so that a rule's refusal is told from a record that is broken.
    """
    table = _table()
    return next((table[kind] for kind in type(error).__mro__ if kind in table), None)


def page() -> str:
    """Return the whole page as text, the same on every machine."""
    rows = [f"| {code.value} | {code.name} | {MEANINGS[code][2]} |\n" for code in Exit]
    sections = [
        f"\n## {code.value}: {code.name}\n\n{means}\n\n**What to do.** {cure}\n"
        for code, (means, cure, _) in MEANINGS.items()
    ]
    own = [
        f"| `{command}` | {code.value} | {when} |\n"
        for command, codes in sorted(COMMANDS.items())
        for code, when in codes.items()
    ]
    return "".join([_HEAD, *rows, *sections, _OWN, *own])


def _table() -> dict[type, Exit]:
    # Imported where something went wrong: help must not wait for what these modules load.
    from compliance.configuration import ConfigError  # noqa: PLC0415  see above
    from compliance.errors import (  # noqa: PLC0415  see above
        ComplianceError,
        LogConflictError,
        LogCorruptError,
    )
    from compliance.log.errors import StorageError  # noqa: PLC0415  see above
    from protocols.errors import ProtocolError  # noqa: PLC0415  see above
    from protocols.link import TransportError  # noqa: PLC0415  see above
    from protocols.oprf.errors import TooFewHoldersError  # noqa: PLC0415  see above

    return {
        ConfigError: Exit.CONFIG,
        ProtocolError: Exit.CONFIG,
        TooFewHoldersError: Exit.FAILED,
        ComplianceError: Exit.REFUSED,
        LogConflictError: Exit.FAILED,
        LogCorruptError: Exit.FAILED,
        StorageError: Exit.FAILED,
        TransportError: Exit.FAILED,
        OSError: Exit.FAILED,
    }


if __name__ == "__main__":
    sys.stdout.write(page())
