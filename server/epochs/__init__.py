"""Epochs at the hub: it calls the holders together, and takes part as one of them."""
