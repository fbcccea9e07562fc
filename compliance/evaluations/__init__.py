"""What a key holder keeps and does: its shares, its book of requests, its answers."""
