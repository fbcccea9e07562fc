"""What a pack says of itself to people: what is in it, and how to check it without our programs.

The commands need a shell, the coreutils and OpenSSL 3. They are in the text, and not in a file
that is to be run unread: whoever checks should see what is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from shlex import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocols.tlog.note import KeyKind, Note, VerifierKey
from protocols.tlog.policy import Policy

KEYS = "keys/"
_WHOLE = """\
This is the whole log up to the checkpoint: every entry that the log kept, in
`tile/entries/`, 256 to a file, each behind its length (two bytes, the higher first).
The layout is C2SP tlog-tiles, so that any program for that format can check it.
By hand: SHA-256 over a zero byte and the bytes of an entry is its leaf hash. The leaf
hashes in order, 32 bytes each, are the files of `tile/0/`, byte for byte. Pairs are joined
by SHA-256 over the byte 1, the left and the right hash, as RFC 6962 section 2.1 says, up to
the one that stands in the third line of `checkpoint`.
"""
_SELECTION = """\
This is a selection: the entries in `entries/` are those that the filter in
`selection.json` asks for. Each is proven to stand in the log by the file of the same number
in `proofs/` (C2SP tlog-proof). That no entry was left out is shown by the whole log alone;
the hashes of all entries are in `tile/0/`, so that a whole log can be held against them.
"""
_TEXT = """\
# {{origin}}: {{entries}} of {{size}} entries

{{kind}}
An entry says who did what with personal data, when, for which purpose and on which legal
basis, and never about whom: that is in a private part which its owner keeps, and may have to
erase. Erasing it changes nothing here.

| file | what it is |
|---|---|
| `checkpoint` | size and root hash of the log, signed by the log and its witnesses |
| `policy.txt` | whose signatures count, and how many of them are enough (C2SP tlog-policy) |
| `keys/` | the same keys for OpenSSL |
| `tile/` | the hashes of all entries, and of what is above them (C2SP tlog-tiles) |
| `agreements/`, `profiles/` | the agreements that the entries name, with all signatures |
| `policies/` | the sets of policies that decided |
| `selection.json` | what was asked for |
| `SHA256SUMS` | the hash of every other file |

## Before all else: the keys

Whoever made this pack could have put keys of their own into it. Compare those below with
the ones that you have from the organisations themselves. If they differ, stop.

{{keys}}

The checkpoint counts if the log and a quorum as in `policy.txt` have signed it.

## Checking

In a shell, in the directory with the unpacked files; it ends with `all holds`, or with the
first thing that does not.

```sh
{{script}}```

With the program: `lianfang audit verify PACK --policy FILE`, where FILE holds the keys that
you trust. `--since OLDER` shows besides that the log only grew since an older pack.
"""
_SCRIPT = """\
set -eu
work=$(mktemp -d)
fail() { echo "does not hold: $1"; exit 1; }
hex() { od -An -v -tx1 | tr -d ' \\n'; }

# 1. No file was damaged on the way.
sha256sum --check --quiet --strict SHA256SUMS || fail SHA256SUMS

# 2. The signatures under the checkpoint: its text is what stands before the empty line.
sed '/^$/,$d' checkpoint > "$work/text"
signed() { # file, id and name of a key; "timed" for a witness
  held=no
  sed '1,/^$/d' checkpoint > "$work/lines"
  while read -r dash name value; do
    [ "$dash $name" = "— $3" ] || continue
    printf %s "$value" | base64 -d > "$work/line"
    [ "$(head -c 4 "$work/line" | hex)" = "$2" ] || continue
    if [ "$4" = timed ]; then # eight bytes of time come before the signature
      time=$(printf %d "0x$(tail -c +5 "$work/line" | head -c 8 | hex)")
      { printf 'cosignature/v1\\ntime %s\\n' "$time"; cat "$work/text"; } > "$work/message"
      tail -c +13 "$work/line" > "$work/signature"
    else
      cp "$work/text" "$work/message"
      tail -c +5 "$work/line" > "$work/signature"
    fi
    openssl pkeyutl -verify -pubin -inkey "$1" -rawin -in "$work/message" \\
      -sigfile "$work/signature" > "$work/said" || fail "signature of $3"
    held=yes
  done < "$work/lines"
  [ $held = yes ] || fail "no signature of $3"
}
{{signed}}
# 3. Every selected entry stands in the log: RFC 9162, section 2.1.3.2.
size=$(sed -n 2p checkpoint)
root=$(sed -n 3p checkpoint | base64 -d | hex)
join() { printf '01%s%s' "$1" "$2" | tr a-f A-F | basenc --base16 -d | sha256sum | cut -c1-64; }
for proof in proofs/*.tlog-proof; do
  [ -e "$proof" ] || continue # a pack of the whole log has no single proofs
  number=$(basename "$proof" .tlog-proof)
  sed '1,/^$/d' "$proof" | cmp -s - checkpoint || fail "$proof: another checkpoint"
  grep -q "\\"sequence\\":$number," "entries/$number.json" || fail "entry $number: its number"
  at=$(sed -n '2s/^index //p' "$proof")
  [ "$at" = "$number" ] || fail "$proof: its index"
  last=$((size - 1))
  found=$({ printf '\\0'; cat "entries/$number.json"; } | sha256sum | cut -c1-64)
  for sibling in $(sed '1,2d;/^$/,$d' "$proof"); do
    other=$(printf %s "$sibling" | base64 -d | hex)
    if [ $((at & 1)) = 1 ] || [ "$at" = "$last" ]; then
      found=$(join "$other" "$found")
      while [ "$at" != 0 ] && [ $((at & 1)) = 0 ]; do at=$((at >> 1)); last=$((last >> 1)); done
    else
      found=$(join "$found" "$other")
    fi
    at=$((at >> 1))
    last=$((last >> 1))
  done
  [ "$last" = 0 ] && [ "$found" = "$root" ] || fail "entry $number: not in this log"
done
echo all holds
"""
_MARK = re.compile(r"\{\{([a-z]+)\}\}")
_KINDS = {
    KeyKind.ED25519: "Ed25519",
    KeyKind.COSIGNATURE: "Ed25519, with the time",
    KeyKind.SUBTREE: "ML-DSA-44, with the time",
}


@dataclass(frozen=True, slots=True)
class PackKey:
    """A key of the pack's policy, and the file in which it lies for OpenSSL."""

    key: VerifierKey
    role: str

    @property
    def path(self) -> str:
        """Return the path of the file."""
        return f"{KEYS}{self.role}-{self.key.key_id.hex()}.pem"

    def pem(self) -> bytes:
        """Write the key as OpenSSL reads it."""
        public: Ed25519PublicKey | MLDSA44PublicKey
        if self.key.kind is KeyKind.SUBTREE:
            public = MLDSA44PublicKey.from_public_bytes(self.key.public)
        else:
            public = Ed25519PublicKey.from_public_bytes(self.key.public)
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def pack_keys(policy: Policy, origin: str) -> list[PackKey]:
    """Return the keys that count for a log, its own first."""
    logs = [PackKey(log.key, "log") for log in policy.logs if log.key.name == origin]
    return logs + [PackKey(item.key, "witness") for item in policy.witnesses]


def write_readme(
    *, origin: str, size: int, entries: int, is_whole: bool, note: Note, keys: Iterable[PackKey]
) -> str:
    """Return the text for a pack."""
    rows = ["| file | who | kind | verifier key |", "|---|---|---|---|"]
    signed = []
    for item in keys:
        key = item.key
        has_signed = bool(note.lines_of(key))
        kind = _KINDS[key.kind] + ("" if has_signed else "; has not signed this checkpoint")
        rows.append(f"| `{item.path}` | {item.role} | {kind} | `{key.format()}` |")
        # OpenSSL verifies ML-DSA from 3.5 on only, over a message that no shell writes easily.
        if has_signed and key.kind is not KeyKind.SUBTREE:
            timed = "timed" if key.kind is KeyKind.COSIGNATURE else "plain"
            signed.append(f"signed {item.path} {key.key_id.hex()} {quote(key.name)} {timed}\n")
    values = {
        "origin": origin,
        "size": str(size),
        "entries": str(entries),
        "kind": _WHOLE if is_whole else _SELECTION,
        "keys": "\n".join(rows),
        "script": _SCRIPT.replace("{{signed}}", "".join(signed)),
    }
    # In one pass, so that nothing in a value is taken for a mark.
    return _MARK.sub(lambda mark: values[mark.group(1)], _TEXT)
