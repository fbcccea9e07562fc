"""The one Flower app bundle that hub and partners agree on.

A bundle is how Flower ships code from the coordinator to the partners. Ours ships none:
it names the components *installed* on each side and nothing else. Both sides build it
with this function, byte for byte the same, so that a partner knows the only hash it may
accept without asking anyone, and no configuration can widen it.

The archive is written here without compression, because compressed bytes differ between
zlib builds and the hash is an identity.

Source:
    PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16; the contents are what
    Flower 1.41 demands (`flwr.cli.build.build_fab_from_files`).
"""

from __future__ import annotations

import hashlib
import struct
import zlib

# Raised whenever the meaning of a phase changes: partners of another version refuse.
VERSION = "1.0.0"
SERVER_APP = "server.training.serverapp:app"
CLIENT_APP = "clients.node.app:app"

_PROJECT = f"""\
[project]
name = "lianfang"
version = "{VERSION}"
description = "Names the installed components; carries no code."
dependencies = []

[tool.flwr.app]
publisher = "lianfang"

[tool.flwr.app.components]
serverapp = "{SERVER_APP}"
clientapp = "{CLIENT_APP}"

[tool.flwr.app.config]
run = ""
"""
_VERSION_NEEDED = 20
_DOS_TIME = 0
_DOS_DATE = 0x21  # 1980-01-01, the first day that the format can name


def build_bundle() -> bytes:
    """Build the bundle; the same bytes on every machine."""
    project = _PROJECT.encode()
    digest = hashlib.sha256(project).hexdigest()
    content = f"pyproject.toml,{digest},{len(project) * 8}".encode()
    return _archive({"pyproject.toml": project, ".info/CONTENT": content})


def bundle_hash() -> str:
    """Return the only bundle hash that a partner of this version accepts."""
    return hashlib.sha256(build_bundle()).hexdigest()


def _archive(files: dict[str, bytes]) -> bytes:
    """Write a zip archive of stored (uncompressed) files with a fixed date."""
    body = b""
    directory = b""
    for name, content in files.items():
        shared = struct.pack(
            "<HHHHHIIIHH",
            _VERSION_NEEDED,
            0,  # flags
            0,  # stored
            _DOS_TIME,
            _DOS_DATE,
            zlib.crc32(content),
            len(content),
            len(content),
            len(name),
            0,  # no extra field
        )
        # Comment length, disk number, internal and external attributes, offset.
        place = struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        version_made_by = struct.pack("<H", _VERSION_NEEDED)
        directory += b"PK\x01\x02" + version_made_by + shared + place + name.encode()
        body += b"PK\x03\x04" + shared + name.encode() + content
    count = len(files)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end
