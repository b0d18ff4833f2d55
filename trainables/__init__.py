"""How one trial runs: prune, recover, evaluate, measure."""
