"""The agreement: what the parties allow each other, signed by all of them. Without one, no act."""
