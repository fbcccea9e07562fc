"""How the hub is watched: metrics of its work and its state, spans, the form of its log."""
