"""The training itself: student, engine, forward passes, steps, checkpoints."""
