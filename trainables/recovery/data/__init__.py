"""Conversations on disk: formats, rows, their Arrow table, images. Torch-free."""
