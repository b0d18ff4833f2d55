"""Sizes of a language model that is small enough to count by hand."""

from __future__ import annotations

from trainables.models.families.shape import LanguageShape

SHAPE = LanguageShape(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=6,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=4,
    vocab_size=64,
)
