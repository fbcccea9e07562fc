"""Standing links: every node keeps one stream open, over which the hub asks it."""

from server.standing.registry import HolderRefusedError, Standing

__all__ = ["HolderRefusedError", "Standing"]
