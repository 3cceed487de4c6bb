"""The Wan2.1 networks: tensors in, tensors out."""
