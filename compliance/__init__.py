"""Agreement, policy, log and ledger. Uses `protocols`; knows no HTTP."""
