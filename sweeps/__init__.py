"""Which trials run: one file per sweep, and the engine that runs them."""
