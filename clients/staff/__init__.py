"""`lianfang staff`: the people of a node."""
