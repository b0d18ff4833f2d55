"""What the frozen vision tower says about images, computed once."""
