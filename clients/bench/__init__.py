"""The benchmark: the real protocol on real data, measured."""
