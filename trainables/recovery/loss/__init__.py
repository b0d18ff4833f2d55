"""The recovery loss: its terms, the tokens they cover, and the module that computes them."""
