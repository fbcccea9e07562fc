"""The API's OpenAPI document: `python -m server.api.document > openapi.json`."""

from __future__ import annotations

import json
import sys

from server.api.app import describe_app


def openapi_document() -> str:
    """Return the document as text, the same on every machine."""
    return json.dumps(describe_app().openapi(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_document())
