"""Converts original checkpoint layouts into stock transformers checkpoints."""

from trainables.models.convert.conversion import LAYOUTS, convert
from trainables.models.convert.conversion_card import Converted

__all__ = ["LAYOUTS", "Converted", "convert"]
