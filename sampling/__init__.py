"""Solvers, guidance and the one denoising loop."""
