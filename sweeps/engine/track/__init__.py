"""The MLflow mirror of a sweep."""
