"""A partner's witness: cosigns the logs of others as long as they only ever grow."""
