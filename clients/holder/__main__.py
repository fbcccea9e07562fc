"""`python -m clients.holder`: the holder's commands alone, as `lianfang node start` runs them."""

from __future__ import annotations

import sys

from clients.holder.cli import app
from clients.output import explain

if __name__ == "__main__":
    try:
        app()
    except Exception as error:  # noqa: BLE001  # unknown errors are raised again by `explain`
        sys.exit(explain(error))
