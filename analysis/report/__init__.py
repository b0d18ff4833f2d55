"""One page per sweep, or for several together: what came out, why, and how it was made."""
