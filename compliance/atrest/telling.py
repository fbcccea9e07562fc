"""The commands about sealed keys, as nodes and hubs have them alike: what they do and say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.atrest.envelope import Kind
from compliance.atrest.keyring import KEYRING, load_keyring
from compliance.atrest.sealing import (
    Progress,
    Standing,
    change_opening,
    seal,
    secrets_in,
    standing,
    unseal,
)
from compliance.atrest.unlocking import UNLOCK, material_of, spec_of
from compliance.configuration import ConfigError

_MARKS = ("node.json", "hub.json")


@dataclass(frozen=True, slots=True)
class Told:
    """What a command found or did: for machines, for people, and the next command."""

    value: dict[str, Any]
    text: str
    following: str


def seal_keys(root: Path, program: str, spec: str, progress: Progress) -> Told:
    """Seal all keys of a directory, or what an earlier try has left.

    Args:
        program: the command's own name, for the next one.
        spec: what is to open them; see `compliance.atrest.unlocking`. Where it is empty, the
            environment says, and else it is asked for.

    Raises:
        ConfigError: no directory of ours, or the keyring there does not open.
    """
    _check(root)
    is_new = load_keyring(root) is None
    chosen = spec or spec_of(os.environ) or "ask"
    material = None
    if is_new or spec:
        material = material_of(chosen, prompt=f"Passphrase for {root}", again=is_new)
    count = seal(root, material, os.urandom, progress=progress)
    found = standing(root)
    lines = [
        f"Sealed {count} files; {len(found.sealed)} are sealed in all.",
        f"From now on every program of {root} needs {UNLOCK}, or the systemd credential "
        "lianfang-unlock.",
        "Keep what opens them apart from this machine too: without it the keys are lost.",
    ]
    return Told(
        _value(found) | {"changed": count}, "\n".join(lines), f"{program} backup {root} FILE"
    )


def unseal_keys(root: Path, program: str, progress: Progress) -> Told:
    """Put all keys of a directory in clear again.

    Raises:
        ConfigError: no directory of ours, or the keyring there does not open.
    """
    _check(root)
    count = unseal(root, progress=progress)
    text = f"{count} files lie in clear again, readable by their owner; {KEYRING} is gone."
    return Told(_value(standing(root)) | {"changed": count}, text, f"{program} keys status {root}")


def tell_standing(root: Path, program: str) -> Told:
    """Tell how the keys of a directory lie; opens nothing.

    Raises:
        ConfigError: no directory of ours, or its keyring is damaged.
    """
    _check(root)
    found = standing(root)
    if not found.kinds:
        text = f"Not sealed: {len(found.clear)} files with keys lie in clear, mode 600."
        return Told(_value(found), text, f"{program} keys seal {root}")
    lines = [f"Sealed: {len(found.sealed)} files, opened by {_kinds(found)}."]
    lines += [f"In clear: {name}" for name in found.clear]
    following = f"{program} keys {'passwd' if found.is_whole else 'seal'} {root}"
    return Told(_value(found), "\n".join(lines), following)


def change_passphrase(root: Path, program: str, spec: str, *, beside: bool) -> Told:
    """Let another passphrase or key file open the keys; no key is touched.

    Raises:
        ConfigError: there is no keyring, or what opens it so far was not given.
    """
    _check(root)
    keyring = load_keyring(root)
    if keyring is not None:
        keyring.unlock()  # asked for first, so that nobody takes the one for the other
    material = material_of(spec or "ask", prompt=f"New passphrase for {root}", again=True)
    found = change_opening(root, material, os.urandom, beside=beside)
    text = (
        f"The keys of {root} are opened by {_kinds(found)} now.\nA copy of the former {KEYRING} "
        "still opens as before: replace or destroy backups that hold it."
    )
    return Told(_value(found), text, f"{program} keys status {root}")


def _check(root: Path) -> None:
    if not any((root / name).is_file() for name in _MARKS):
        raise ConfigError(f"{root}: holds neither node.json nor hub.json; correct the path")
    if not secrets_in(root):
        raise ConfigError(f"{root}: holds no keys yet; nothing is to be sealed")


def _value(found: Standing) -> dict[str, Any]:
    return {
        "sealed": list(found.sealed),
        "clear": list(found.clear),
        "opened_by": [kind.value for kind in found.kinds],
    }


def _kinds(found: Standing) -> str:
    names = {Kind.PASSPHRASE: "a passphrase", Kind.KEY: "a key file"}
    return " or ".join(names[kind] for kind in found.kinds)
