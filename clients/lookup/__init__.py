"""Private lookup at a partner: the hub's API, blind evaluation, tables and cached outputs."""
