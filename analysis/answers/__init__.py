"""The same few questions, answered by every model of a frontier."""
