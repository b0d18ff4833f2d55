"""The dense model as teacher: online, or its answers from a cache."""
