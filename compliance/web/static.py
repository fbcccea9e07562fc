"""Our style sheet and module: two small files, named by their hash and kept by browsers."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files

from starlette.responses import Response

from compliance.web.access import EVERYBODY
from compliance.web.errors import UnknownPageError
from compliance.web.page import Page
from compliance.web.visit import Visit

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_DIGITS = 12
ALWAYS = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes = field(repr=False)
    packed: bytes = field(repr=False)
    kind: str


class Static:
    """The files of the folder `static`, read once.

    They are the same for everybody, so that packing them tells nobody anything; pages with
    tokens in them are never packed (BREACH).
    """

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._paths: dict[str, str] = {}
        for item in files(__package__).joinpath("static").iterdir():
            kind = _TYPES.get(f".{item.name.rpartition('.')[2]}")
            if kind is None:
                continue
            data = item.read_bytes()
            name = f"{sha256(data).hexdigest()[:_DIGITS]}-{item.name}"
            self._files[name] = _File(data, gzip.compress(data, mtime=0), kind)
            self._paths[item.name] = f"/static/{name}"

    def path(self, name: str) -> str:
        """Return the address of a file."""
        return self._paths[name]

    def page(self) -> Page:
        """Return the page that serves them."""
        return Page("/static/{name}", EVERYBODY, show=self._show)

    def _show(self, visit: Visit) -> Response:
        found = self._files.get(visit.request.path_params["name"])
        if found is None:
            raise UnknownPageError("static: no such file")
        takes = "gzip" in visit.request.headers.get("accept-encoding", "")
        headers = {"Cache-Control": ALWAYS, "Vary": "Accept-Encoding"}
        if takes:
            headers["Content-Encoding"] = "gzip"
        return Response(
            found.packed if takes else found.data, headers=headers, media_type=found.kind
        )
