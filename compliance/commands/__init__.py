"""What the commands of the hub and of a node have in common."""
