"""Converts original checkpoint layouts into stock transformers checkpoints."""

from trainables.models.convert.conversion import LAYOUTS, Converted, convert

__all__ = ["LAYOUTS", "Converted", "convert"]
