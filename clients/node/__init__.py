"""A partner's node: its table, its policy, its share of a run, its ledger."""
