"""What a doctor looks at, alike at the hub and at a node; nothing in here changes anything."""
