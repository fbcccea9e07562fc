"""The hub's side of the audit log: asking the partners' witnesses, and publishing."""
