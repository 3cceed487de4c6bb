"""LoRA modules, merging and their metadata."""
