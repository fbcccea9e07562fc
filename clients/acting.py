"""Who acts at a command of a node; see `compliance.commands.acting`."""

from __future__ import annotations

from functools import partial

from compliance.commands.acting import acting_by

acting = partial(acting_by, "lianfang")
