"""From scores and a target to what is kept; pure, without a model or torch."""
