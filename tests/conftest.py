"""Shared by all tests."""

import os

# Read once, when the first library with threads is loaded: threads that wait by spinning
# make a loaded machine of two cores fifty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
