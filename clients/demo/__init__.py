"""What one laptop needs to see the whole system at work, on simulated people."""
