"""Converts original checkpoint layouts into stock transformers checkpoints."""

from trainables.models.convert.card import Converted
from trainables.models.convert.conversion import LAYOUTS, convert

__all__ = ["LAYOUTS", "Converted", "convert"]
