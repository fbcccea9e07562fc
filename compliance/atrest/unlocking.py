"""Where the passphrase or key comes from that opens sealed keys.

    LIANFANG_UNLOCK=file:PATH              a key file: from a KMS, a USB stick, `openssl rand`
    LIANFANG_UNLOCK=passphrase-file:PATH   one line, the passphrase
    LIANFANG_UNLOCK=fd:NUMBER              a key, read from an open descriptor
    LIANFANG_UNLOCK=env:NAME               a passphrase; discouraged: other programs may see it
    LIANFANG_UNLOCK=ask                    typed at the terminal
    LIANFANG_UNLOCK=held:PATH              from the program that started this one
    not set                                the systemd credential `lianfang-unlock` (a key) or
                                           `lianfang-passphrase`, where there is one

A path may be that of a pipe, so the output of a command serves too. Never written anywhere.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from compliance.atrest.envelope import ID_SIZE, KEY_SIZE, DataKey, Material
from compliance.atrest.errors import SealedKeysError

UNLOCK = "LIANFANG_UNLOCK"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
KEY_CREDENTIAL, PASSPHRASE_CREDENTIAL = "lianfang-unlock", "lianfang-passphrase"
FORMS = "file:PATH, passphrase-file:PATH, fd:NUMBER or ask"
_WORLD = 0o007
_MOST_BYTES = 1 << 16


def spec_of(environment: Mapping[str, str]) -> str:
    """Return what the environment says, or what systemd has laid ready; else nothing."""
    spec = environment.get(UNLOCK, "")
    folder = environment.get(CREDENTIALS, "")
    if spec or not folder:
        return spec
    found = {"file:": KEY_CREDENTIAL, "passphrase-file:": PASSPHRASE_CREDENTIAL}
    for scheme, name in found.items():
        if (Path(folder) / name).exists():
            return f"{scheme}{Path(folder) / name}"
    return ""


def material_of(spec: str, *, prompt: str, again: bool = False) -> Material:
    """Read the passphrase or key that a specification names.

    Args:
        prompt: what is asked for at the terminal.
        again: it is a new one, and typed twice.

    Raises:
        SealedKeysError: it cannot be read; names the cure.
    """
    scheme, _, rest = spec.partition(":")
    match scheme:
        case "file":
            return Material.of_key(_read(Path(rest)))
        case "passphrase-file":
            return Material.of_passphrase(_line(_read(Path(rest))))
        case "fd" if rest.isascii() and rest.isdigit():
            return Material.of_key(_read(Path(f"/dev/fd/{rest}")))
        case "env" if rest in os.environ:
            return Material.of_passphrase(os.environ[rest])
        case "ask" if not rest:
            return Material.of_passphrase(_typed(prompt, again=again))
        case _:
            raise SealedKeysError(f"{UNLOCK}: names no passphrase and no key; write {FORMS}")


def held_key(spec: str) -> DataKey | None:
    """Return the data key that the program above hands over, if that is what is specified.

    Raises:
        SealedKeysError: it is no longer there.
    """
    scheme, _, rest = spec.partition(":")
    if scheme != "held":
        return None
    data = _read(Path(rest))
    if len(data) != ID_SIZE + KEY_SIZE:
        raise SealedKeysError(f"{UNLOCK}: hands over no key; start the program above anew")
    return DataKey(data[:ID_SIZE], data[ID_SIZE:])


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & _WORLD:
                raise SealedKeysError(
                    f"{path}: everybody may read it; run chmod 600 and replace what is in it"
                )
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SealedKeysError(f"{path}: cannot be read; correct {UNLOCK} or its mode") from error
    if len(data) > _MOST_BYTES:
        raise SealedKeysError(f"{path}: over {_MOST_BYTES} bytes, no key; correct {UNLOCK}")
    return data


def _line(data: bytes) -> str:
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SealedKeysError("passphrase file: no UTF-8 text; write one line into it") from error
    if "\n" in text:
        raise SealedKeysError("passphrase file: more than one line; write one line into it")
    return text


def _typed(prompt: str, *, again: bool) -> str:
    if not sys.stdin.isatty():
        raise SealedKeysError(f"{UNLOCK}: there is no terminal to ask at; name a file")
    found = getpass.getpass(f"{prompt}: ")
    if again and getpass.getpass(f"{prompt}, again: ") != found:
        raise SealedKeysError("passphrase: typed differently the second time; begin again")
    return found
