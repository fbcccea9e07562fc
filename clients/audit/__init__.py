"""What a compliance officer does: agreements, and decisions made again."""
