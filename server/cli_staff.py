"""`lianfang-hub staff`: accounts and roles, consents of a second person."""

from __future__ import annotations

from compliance.commands.program import commands_of
from compliance.commands.staff import COMMANDS
from server.program import PROGRAM

app = commands_of(PROGRAM, COMMANDS, "People: accounts, roles, second persons.")
