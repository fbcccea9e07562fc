"""The screens of a node's staff."""
