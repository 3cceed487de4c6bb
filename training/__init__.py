"""Flow matching, what is trainable, the loop, checkpoints."""
