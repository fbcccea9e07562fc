"""Who acts at a command of the hub; see `compliance.commands.acting`."""

from __future__ import annotations

from functools import partial

from compliance.commands.acting import acting_by

acting = partial(acting_by, "lianfang-hub")
