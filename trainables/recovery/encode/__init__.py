"""From conversations to the tensors of a forward pass."""
