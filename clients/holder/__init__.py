"""A partner as key holder: it answers the hub's questions with its share of the key."""
