"""Effects of a sweep's factors, with intervals."""
