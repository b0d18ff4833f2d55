"""The files of a finished sweep."""
