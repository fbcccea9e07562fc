"""The compliance officer's work on an exported log: search, statements, alarms, packs, checks."""
