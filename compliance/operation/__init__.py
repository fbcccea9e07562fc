"""What an operator watches a process by, alike at the hub and at a node: logs, metrics, spans."""
