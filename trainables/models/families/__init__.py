"""One table per architecture, the backbones they share, and the registry of names."""
