"""A sweep's own search against an objective that answers at once, under a simulated clock."""
