"""Converts original checkpoint layouts into stock transformers checkpoints."""

from trainables.models.convert.conversion import LAYOUTS as LAYOUTS
from trainables.models.convert.conversion import convert as convert
