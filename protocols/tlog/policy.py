"""Trust policies: which logs are believed, and how many witnesses must have seen a checkpoint.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>...        only names defined above, each in one group only
    quorum <name>|none                        exactly once, a name defined above

Names and URLs are opaque bytes; they are kept as text in which a byte that is no UTF-8 stands
as a lone surrogate, so that every file can be written back.

Source:
    C2SP tlog-policy (https://c2sp.org/tlog-policy), C2SP@13027ee.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint, verify_empty_root
from protocols.tlog.cosignature import verify_signers
from protocols.tlog.note import KeyKind, Note, VerifierKey

NONE = "none"
MAX_POLICY_SIZE = 1 << 20
MAX_LINES = 1_000  # "at least up to 32 logs, 32 witnesses, and 32 groups" must be possible

_OTHER_BYTES = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_BLANK = re.compile(r"[ \t]+")
_NO_TOKEN = re.compile(r"[\x00-\x20\x7f]")
_COUNT = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_LOG_KINDS = frozenset({KeyKind.ED25519, KeyKind.SUBTREE})
_WITNESS_KINDS = frozenset({KeyKind.COSIGNATURE, KeyKind.SUBTREE})


@dataclass(frozen=True, slots=True)
class Log:
    """A log that is believed; its key has the name of its origin."""

    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness under the name that the groups use."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Counts as a witness if at least `threshold` of its members do."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint that a policy accepts, and when each witness that signed it last did.

    Args:
        times: Unix seconds by the policy's name of the witness; 0 where it gave no time.
    """

    checkpoint: Checkpoint
    times: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Policy:
    """The logs that are believed, and who must have cosigned; `quorum` may be `none`."""

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    def __post_init__(self) -> None:
        _check_keys("log", [log.key for log in self.logs], _LOG_KINDS)
        _check_keys("witness", [witness.key for witness in self.witnesses], _WITNESS_KINDS)
        urls = [log.url for log in self.logs] + [witness.url for witness in self.witnesses]
        for url in filter(None, urls):
            _check_token(url)
        defined: set[str] = set()
        free: set[str] = set()
        for witness in self.witnesses:
            _define(witness.name, defined)
            free.add(witness.name)
        for group in self.groups:
            if not group.members or len(set(group.members)) != len(group.members):
                raise ValueError("a group has no members, or one twice")
            if not free.issuperset(group.members):
                raise ValueError("a group names one that is not defined above, or in a group")
            if not 1 <= group.threshold <= len(group.members):
                raise ValueError("a group asks for less than 1 or more than all of its members")
            _define(group.name, defined)
            free.difference_update(group.members)
            free.add(group.name)
        if self.quorum != NONE and self.quorum not in defined:
            raise ValueError("the quorum is neither none nor defined above")

    def encode(self) -> bytes:
        """Write the policy; comments of a file that was read are not kept."""
        lines = [f"log {log.key.format()} {log.url}" for log in self.logs]
        lines += [f"witness {item.name} {item.key.format()} {item.url}" for item in self.witnesses]
        for group in self.groups:
            lines.append(f"group {group.name} {group.threshold} {' '.join(group.members)}")
        lines.append(f"quorum {self.quorum}")
        text = "".join(f"{line.rstrip(' ')}\n" for line in lines)
        return text.encode(errors="surrogateescape")

    @classmethod
    def decode(cls, data: bytes) -> Policy:
        """Read a policy file.

        Raises:
            MalformedMessageError: on any other byte string; names the line.
        """
        if len(data) > MAX_POLICY_SIZE or not data.endswith(b"\n") or _OTHER_BYTES.search(data):
            raise MalformedMessageError(
                "policy: over 1 MiB, no newline at the end, or a control character"
            )
        lines = data.decode(errors="surrogateescape")[:-1].split("\n")
        if len(lines) > MAX_LINES:
            raise MalformedMessageError(f"policy: {len(lines)} lines, at most {MAX_LINES}")
        reader = _Reader()
        for number, line in enumerate(lines, start=1):
            words = _BLANK.split(line.strip(" \t"))
            if words[0] and not words[0].startswith("#"):
                reader.read(number, words)
        try:
            return cls(
                tuple(reader.logs), tuple(reader.witnesses), tuple(reader.groups), reader.quorum
            )
        except ValueError as error:
            raise MalformedMessageError(f"policy: {error}") from error

    def verify(self, note: Note) -> Witnessed:
        """Return the checkpoint of a note that its log and a quorum of witnesses signed.

        Raises:
            MalformedMessageError: the note is no checkpoint.
            InvalidProofError: signed by no log of its origin, by too few witnesses, or with a
                line of a known key that does not verify.
        """
        checkpoint = Checkpoint.parse(note.text)
        # The key's name "MUST correspond to the log's origin line": a log cannot speak for
        # another one of the same policy.
        logs = [log.key for log in self.logs if log.key.name == checkpoint.origin]
        if not verify_signers(checkpoint, note, logs):
            raise InvalidProofError("checkpoint: not signed by a log of this policy")
        verify_empty_root(checkpoint)
        signed = verify_signers(checkpoint, note, [item.key for item in self.witnesses])
        times = {item.name: signed[item.key].time for item in self.witnesses if item.key in signed}
        if not self.is_quorum(times):
            raise InvalidProofError(
                f"checkpoint: cosigned by {len(times)} of {len(self.witnesses)} witnesses, "
                "which is no quorum"
            )
        return Witnessed(checkpoint, times)

    def is_quorum(self, names: Mapping[str, int]) -> bool:
        """Whether these witnesses together are enough."""
        agreed = set(names)
        for group in self.groups:
            if len(agreed.intersection(group.members)) >= group.threshold:
                agreed.add(group.name)
        return self.quorum == NONE or self.quorum in agreed


class _Reader:
    """Takes a policy file in, line by line, because a name counts from its line on."""

    def __init__(self) -> None:
        self.logs: list[Log] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum = ""
        self._defined: set[str] = {NONE}

    def read(self, number: int, words: list[str]) -> None:
        """Take in one line that is neither empty nor a comment."""
        match words:
            case ["log", key, *url] if len(url) <= 1:
                self.logs.append(Log(VerifierKey.parse(key), *url))
            case ["witness", name, key, *url] if len(url) <= 1:
                self.witnesses.append(Witness(name, VerifierKey.parse(key), *url))
                self._defined.add(name)
            case ["group", name, count, *members] if self._defined.issuperset(members):
                self.groups.append(Group(name, _threshold(count, len(members)), tuple(members)))
                self._defined.add(name)
            case ["quorum", name] if not self.quorum and name in self._defined:
                self.quorum = name
            case _:
                raise MalformedMessageError(
                    f"policy: line {number} is no log, witness, group or quorum, names what is "
                    "not defined above, or is a second quorum"
                )


def _threshold(text: str, members: int) -> int:
    match text:
        case "all":
            return members
        case "any":
            return 1
        case _ if _COUNT.fullmatch(text):
            return int(text)
        case _:
            raise MalformedMessageError("policy: a group's threshold is not all, any or a number")


def _define(name: str, defined: set[str]) -> None:
    _check_token(name)
    if name == NONE or name in defined:
        raise ValueError("a name is defined twice, or is none")
    defined.add(name)


def _check_token(text: str) -> None:
    if not text or _NO_TOKEN.search(text):
        raise ValueError("a name or URL is empty or has a space or control character")


def _check_keys(subject: str, keys: list[VerifierKey], kinds: frozenset[KeyKind]) -> None:
    if any(key.kind not in kinds for key in keys):
        raise ValueError(f"a {subject} has a key of a type that it cannot have")
    # The same key under two names would let one witness count twice.
    if len({key.public for key in keys}) != len(keys):
        raise ValueError(f"a {subject} key is listed twice")
    if len({(key.name, key.key_id) for key in keys}) != len(keys):
        raise ValueError(f"two {subject} keys have one name and key id")
