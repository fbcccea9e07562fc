"""Persons' rights at a node: what its stores hold of a person, and the officer's commands."""
