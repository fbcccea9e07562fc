"""What runs at a partner: the node, the benchmark, the demonstration."""
