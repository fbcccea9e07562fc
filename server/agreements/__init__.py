"""Agreements at the hub: every party hands in its own word, and takes those of the others."""
