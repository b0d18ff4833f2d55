"""Files that start a sweep on a cluster."""
