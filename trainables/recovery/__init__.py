"""Recovery training of a pruned student with a DeepSpeed engine."""
