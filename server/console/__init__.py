"""The screens of the hub's staff."""
