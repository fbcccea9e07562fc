"""What a hub keeps beside its log: in state.sqlite, or in the PostgreSQL that hub.json names."""
