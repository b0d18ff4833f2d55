"""The study's printed numbers, as data."""

from analysis.published.study import PublishedScores, load_published, published_accuracy

__all__ = ["PublishedScores", "load_published", "published_accuracy"]
