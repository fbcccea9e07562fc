"""Bring the rows of several partners into one order without telling anyone who is shared."""
