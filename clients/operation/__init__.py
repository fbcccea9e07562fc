"""How a node is watched: metrics of its key holder and its budget, spans."""
