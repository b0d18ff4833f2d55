"""Vision-language models: one table per architecture, a registry of names, loading."""
