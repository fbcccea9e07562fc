"""How a partner comes to a hub over the network: invitation codes, and what its key signs."""
